import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.tencentcloudapi.common.AbstractModel;
import com.tencentcloudapi.common.Credential;
import com.tencentcloudapi.common.exception.TencentCloudSDKException;
import com.tencentcloudapi.common.profile.ClientProfile;
import com.tencentcloudapi.common.profile.HttpProfile;
import com.tencentcloudapi.common.profile.Language;
import com.tencentcloudapi.live.v20180801.LiveClient;
import com.tencentcloudapi.live.v20180801.models.CreateLivePullStreamTaskRequest;
import com.tencentcloudapi.live.v20180801.models.CreateLivePullStreamTaskResponse;
import com.tencentcloudapi.live.v20180801.models.DeleteLivePullStreamTaskRequest;
import com.tencentcloudapi.live.v20180801.models.DescribeLivePullStreamTaskStatusRequest;
import com.tencentcloudapi.live.v20180801.models.DescribeLivePullStreamTasksRequest;
import com.tencentcloudapi.live.v20180801.models.ModifyLivePullStreamTaskRequest;
import com.tencentcloudapi.live.v20180801.models.RestartLivePullStreamTaskRequest;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.temporal.ChronoUnit;

/**
 * Makes every call of the pull stream tasks through Tencent's Java client, and prints what each gave as a line of
 * JSON. The environment says where, by whose keys, and how to sign.
 */
final class Calls {
    private interface Call<T extends AbstractModel> {
        T send() throws TencentCloudSDKException;
    }

    private static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    private static final LiveClient CLIENT = newClient();

    public static void main(String[] words) {
        String running = System.getenv("TASK_ID");
        describe(running);
        DescribeLivePullStreamTaskStatusRequest status = new DescribeLivePullStreamTaskStatusRequest();
        status.setTaskId(running);
        call("DescribeLivePullStreamTaskStatus", () -> CLIENT.DescribeLivePullStreamTaskStatus(status));

        CreateLivePullStreamTaskRequest create = new CreateLivePullStreamTaskRequest();
        create.setSourceType("PullLivePushLive");
        create.setSourceUrls(new String[] {"rtmp://127.0.0.1:1935/live/source?key=a+b"});
        create.setDomainName("127.0.0.1");
        create.setAppName("live");
        create.setStreamName("from_java");
        create.setStartTime(at(0));
        create.setEndTime(at(1));
        create.setOperator("day");
        create.setComment("a + b = ü & c_d%");
        create.setCallbackEvents(new String[] {"TaskStart", "TaskExit"});
        create.setVodLoopTimes("3");
        CreateLivePullStreamTaskResponse created =
                call("CreateLivePullStreamTask", () -> CLIENT.CreateLivePullStreamTask(create));
        String task = created == null ? "1" : created.getTaskId();

        RestartLivePullStreamTaskRequest restart = new RestartLivePullStreamTaskRequest();
        restart.setTaskId(task);
        restart.setOperator("noon");
        call("RestartLivePullStreamTask", () -> CLIENT.RestartLivePullStreamTask(restart));
        ModifyLivePullStreamTaskRequest modify = new ModifyLivePullStreamTaskRequest();
        modify.setTaskId(task);
        modify.setOperator("night");
        modify.setStatus("pause");
        modify.setVodLoopTimes(5L);
        call("ModifyLivePullStreamTask", () -> CLIENT.ModifyLivePullStreamTask(modify));
        describe(task);
        DeleteLivePullStreamTaskRequest delete = new DeleteLivePullStreamTaskRequest();
        delete.setTaskId(task);
        delete.setOperator("night");
        call("DeleteLivePullStreamTask", () -> CLIENT.DeleteLivePullStreamTask(delete));
        call("DeleteLivePullStreamTask", () -> CLIENT.DeleteLivePullStreamTask(delete));
    }

    private static LiveClient newClient() {
        HttpProfile http = new HttpProfile();
        http.setEndpoint(System.getenv("ENDPOINT"));
        http.setProtocol(System.getenv().getOrDefault("PROTOCOL", HttpProfile.REQ_HTTP));
        http.setReqMethod(System.getenv("HTTP_METHOD"));
        ClientProfile profile = new ClientProfile(System.getenv("SIGN_METHOD"), http);
        profile.setUnsignedPayload("yes".equals(System.getenv("UNSIGNED_PAYLOAD")));
        profile.setLanguage(Language.EN_US);
        Credential keys = new Credential(System.getenv("SECRET_ID"), System.getenv("SECRET_KEY"));
        return new LiveClient(keys, "ap-guangzhou", profile);
    }

    private static void describe(String task) {
        DescribeLivePullStreamTasksRequest request = new DescribeLivePullStreamTasksRequest();
        request.setTaskId(task);
        request.setPageNum(1L);
        request.setPageSize(20L);
        call("DescribeLivePullStreamTasks", () -> CLIENT.DescribeLivePullStreamTasks(request));
    }

    /** Prints what came of the call, and returns its answer, or null. */
    private static <T extends AbstractModel> T call(String action, Call<T> call) {
        JsonObject line = new JsonObject();
        line.addProperty("action", action);
        T answer = null;
        try {
            answer = call.send();
            line.add("answer", JsonParser.parseString(AbstractModel.toJsonString(answer)));
        } catch (TencentCloudSDKException error) {
            line.addProperty("code", error.getErrorCode());
            line.addProperty("message", error.getMessage());
            line.addProperty("request_id", error.getRequestId());
        }
        OUT.println(line);
        return answer;
    }

    private static String at(long hours) {
        return Instant.now().truncatedTo(ChronoUnit.SECONDS).plus(hours, ChronoUnit.HOURS).toString();
    }
}
