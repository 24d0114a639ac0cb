module penstock/tests/clients

go 1.19

require github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common v1.3.103
