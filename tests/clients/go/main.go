// Makes every call of the pull stream tasks through Tencent's Go client, and prints what each gave as a line of JSON.
// The environment says where, by whose keys, and how to sign.
//
// The requests are written as the vendor's generated packages write theirs: the client flattens by the tag `name`,
// sends JSON by the tag `json`, and reads answers into typed fields.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common"
	tcerr "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/errors"
	tchttp "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/http"
	"github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common/profile"
)

type createRequest struct {
	*tchttp.BaseRequest
	SourceType     *string   `json:"SourceType,omitnil,omitempty" name:"SourceType"`
	SourceUrls     []*string `json:"SourceUrls,omitnil,omitempty" name:"SourceUrls"`
	DomainName     *string   `json:"DomainName,omitnil,omitempty" name:"DomainName"`
	AppName        *string   `json:"AppName,omitnil,omitempty" name:"AppName"`
	StreamName     *string   `json:"StreamName,omitnil,omitempty" name:"StreamName"`
	StartTime      *string   `json:"StartTime,omitnil,omitempty" name:"StartTime"`
	EndTime        *string   `json:"EndTime,omitnil,omitempty" name:"EndTime"`
	Operator       *string   `json:"Operator,omitnil,omitempty" name:"Operator"`
	Comment        *string   `json:"Comment,omitnil,omitempty" name:"Comment"`
	CallbackEvents []*string `json:"CallbackEvents,omitnil,omitempty" name:"CallbackEvents"`
	VodLoopTimes   *string   `json:"VodLoopTimes,omitnil,omitempty" name:"VodLoopTimes"`
}

type modifyRequest struct {
	*tchttp.BaseRequest
	TaskId       *string `json:"TaskId,omitnil,omitempty" name:"TaskId"`
	Operator     *string `json:"Operator,omitnil,omitempty" name:"Operator"`
	Status       *string `json:"Status,omitnil,omitempty" name:"Status"`
	VodLoopTimes *int64  `json:"VodLoopTimes,omitnil,omitempty" name:"VodLoopTimes"`
}

// Of the actions that take these two alone.
type namingRequest struct {
	*tchttp.BaseRequest
	TaskId   *string `json:"TaskId,omitnil,omitempty" name:"TaskId"`
	Operator *string `json:"Operator,omitnil,omitempty" name:"Operator"`
}

type describeRequest struct {
	*tchttp.BaseRequest
	TaskId   *string `json:"TaskId,omitnil,omitempty" name:"TaskId"`
	PageNum  *uint64 `json:"PageNum,omitnil,omitempty" name:"PageNum"`
	PageSize *uint64 `json:"PageSize,omitnil,omitempty" name:"PageSize"`
}

type statusRequest struct {
	*tchttp.BaseRequest
	TaskId *string `json:"TaskId,omitnil,omitempty" name:"TaskId"`
}

type created struct {
	TaskId    *string
	RequestId *string
}

type done struct {
	RequestId *string
}

type recentPullInfo struct {
	FileUrl     *string
	OffsetTime  *int64
	ReportTime  *string
	LoopedTimes *int64
}

type taskInfo struct {
	TaskId         *string
	SourceType     *string
	SourceUrls     []*string
	DomainName     *string
	AppName        *string
	StreamName     *string
	PushArgs       *string
	StartTime      *string
	EndTime        *string
	Region         *string
	VodLoopTimes   *int64
	CreateTime     *string
	UpdateTime     *string
	CreateBy       *string
	UpdateBy       *string
	CallbackEvents []*string
	ErrorInfo      *string
	Status         *string
	RecentPullInfo *recentPullInfo `json:",omitempty"`
	Comment        *string
	VodLocalMode   *int64
}

type described struct {
	TaskInfos    []*taskInfo
	PageNum      *uint64
	PageSize     *uint64
	TotalNum     *uint64
	TotalPage    *uint64
	LimitTaskNum *uint64
	RequestId    *string
}

type statusInfo struct {
	FileUrl      *string
	LoopedTimes  *int64
	OffsetTime   *int64
	ReportTime   *string
	RunStatus    *string
	FileDuration *int64
	NextFileUrl  *string
}

type statusDescribed struct {
	TaskStatusInfo *statusInfo
	RequestId      *string
}

// Where the client reads an answer into.
type response struct {
	*tchttp.BaseResponse `json:"-"`
	Response             interface{}
}

type line struct {
	Action    string      `json:"action"`
	Answer    interface{} `json:"answer,omitempty"`
	Code      string      `json:"code,omitempty"`
	Message   string      `json:"message,omitempty"`
	RequestId string      `json:"request_id,omitempty"`
}

var client = newClient()

func newClient() *common.Client {
	options := profile.NewClientProfile()
	options.SignMethod = os.Getenv("SIGN_METHOD")
	options.UnsignedPayload = os.Getenv("UNSIGNED_PAYLOAD") == "yes"
	options.Language = "en-US"
	options.HttpProfile.ReqMethod = os.Getenv("HTTP_METHOD")
	options.HttpProfile.Endpoint = os.Getenv("ENDPOINT")
	options.HttpProfile.Scheme = "HTTP"
	if scheme := os.Getenv("PROTOCOL"); scheme != "" {
		options.HttpProfile.Scheme = scheme
	}
	keys := common.NewCredential(os.Getenv("SECRET_ID"), os.Getenv("SECRET_KEY"))
	return common.NewCommonClient(keys, "ap-guangzhou", options)
}

func named(action string) *tchttp.BaseRequest {
	request := new(tchttp.BaseRequest).Init()
	return request.WithApiInfo("live", "2018-08-01", action)
}

// Sends the request, prints what came of it, and tells whether it was carried out. An answer that does not fit
// its type is an error of the client's own.
func call(request tchttp.Request, answer interface{}) bool {
	outcome := line{Action: request.GetAction()}
	err := client.Send(request, &response{&tchttp.BaseResponse{}, answer})
	var refused *tcerr.TencentCloudSDKError
	switch {
	case err == nil:
		outcome.Answer = answer
	case errors.As(err, &refused):
		outcome.Code, outcome.Message, outcome.RequestId = refused.Code, refused.Message, refused.RequestId
	default:
		panic(err)
	}
	text, err := json.Marshal(outcome)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(text))
	return outcome.Answer != nil
}

func describe(taskId *string) {
	request := describeRequest{
		BaseRequest: named("DescribeLivePullStreamTasks"),
		TaskId:      taskId,
		PageNum:     common.Uint64Ptr(1),
		PageSize:    common.Uint64Ptr(20),
	}
	call(&request, &described{})
}

func at(delta time.Duration) *string {
	return common.StringPtr(time.Now().UTC().Add(delta).Format("2006-01-02T15:04:05Z"))
}

func main() {
	running := common.StringPtr(os.Getenv("TASK_ID"))
	describe(running)
	call(&statusRequest{named("DescribeLivePullStreamTaskStatus"), running}, &statusDescribed{})
	made := created{}
	create := createRequest{
		BaseRequest:    named("CreateLivePullStreamTask"),
		SourceType:     common.StringPtr("PullLivePushLive"),
		SourceUrls:     common.StringPtrs([]string{"rtmp://127.0.0.1:1935/live/source?key=a+b"}),
		DomainName:     common.StringPtr("127.0.0.1"),
		AppName:        common.StringPtr("live"),
		StreamName:     common.StringPtr("from_go"),
		StartTime:      at(0),
		EndTime:        at(time.Hour),
		Operator:       common.StringPtr("day"),
		Comment:        common.StringPtr("a + b = ü & c_d%"),
		CallbackEvents: common.StringPtrs([]string{"TaskStart", "TaskExit"}),
		VodLoopTimes:   common.StringPtr("3"),
	}
	task := common.StringPtr("1")
	if call(&create, &made) {
		task = made.TaskId
	}
	call(&namingRequest{named("RestartLivePullStreamTask"), task, common.StringPtr("noon")}, &done{})
	night := common.StringPtr("night")
	call(&modifyRequest{
		BaseRequest:  named("ModifyLivePullStreamTask"),
		TaskId:       task,
		Operator:     night,
		Status:       common.StringPtr("pause"),
		VodLoopTimes: common.Int64Ptr(5),
	}, &done{})
	describe(task)
	for i := 0; i < 2; i++ {
		call(&namingRequest{named("DeleteLivePullStreamTask"), task, night}, &done{})
	}
}
