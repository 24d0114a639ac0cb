// Makes every call of the pull stream tasks through one of Tencent's Node clients, and prints what each gave as a
// line of JSON. The environment says which client, where, by whose keys, and how to sign. Runs where node_modules is.

import { createRequire } from "node:module";

const env = process.env;
const protocol = env.PROTOCOL ?? "http://";
const require = createRequire(`${process.cwd()}/`);

// The mainland's client: promises and plain objects.
function mainland() {
  const { Client } = require("tencentcloud-sdk-nodejs/tencentcloud/services/live/v20180801/live_client");
  const client = new Client({
    credential: { secretId: env.SECRET_ID, secretKey: env.SECRET_KEY },
    region: "ap-guangzhou",
    profile: {
      signMethod: env.SIGN_METHOD,
      language: "en-US",
      httpProfile: { endpoint: env.ENDPOINT, protocol, reqMethod: env.HTTP_METHOD },
    },
  });
  return (action, parameters, options) => client[action](parameters, options);
}

// The international client: callbacks and models.
function international() {
  const root = "tencentcloud-sdk-nodejs-intl-en/tencentcloud";
  const common = require(`${root}/common`);
  const { Client, Models } = require(`${root}/live/v20180801`);
  const http = new common.HttpProfile(protocol, env.ENDPOINT, env.HTTP_METHOD);
  const client = new Client(
    new common.Credential(env.SECRET_ID, env.SECRET_KEY),
    "ap-singapore",
    new common.ClientProfile(env.SIGN_METHOD, http),
  );
  return (action, parameters) => {
    const request = new Models[`${action}Request`]();
    request.from_json_string(JSON.stringify(parameters));
    return new Promise((resolve, reject) =>
      client[action](request, (error, answer) => (error ? reject(error) : resolve(answer))),
    );
  };
}

const send = { mainland, international }[env.EDITION]();

async function call(action, parameters, options) {
  let outcome;
  try {
    outcome = { answer: await send(action, parameters, options) };
  } catch (error) {
    outcome = { code: error.code, message: error.message, request_id: error.requestId };
  }
  console.log(JSON.stringify({ action, ...outcome }));
  return outcome.answer;
}

const at = (hours) => new Date(Date.now() + hours * 3600_000).toISOString().replace(/\.\d+/, "");

await call("DescribeLivePullStreamTasks", { TaskId: env.TASK_ID });
if (env.EDITION === "mainland") {
  await call("DescribeLivePullStreamTaskStatus", { TaskId: env.TASK_ID });
}
const created = await call("CreateLivePullStreamTask", {
  SourceType: "PullLivePushLive",
  SourceUrls: ["rtmp://127.0.0.1:1935/live/source?key=a+b"],
  DomainName: "127.0.0.1",
  AppName: "live",
  StreamName: "from_node",
  StartTime: at(0),
  EndTime: at(1),
  Operator: "day",
  Comment: "a + b = ü & c_d%",
  CallbackEvents: ["TaskStart", "TaskExit"],
  VodLoopTimes: "3",
});
const TaskId = created?.TaskId ?? "1";
await call("RestartLivePullStreamTask", { TaskId, Operator: "noon" });
await call("ModifyLivePullStreamTask", { TaskId, Operator: "night", Status: "pause", VodLoopTimes: 5 });
await call("DescribeLivePullStreamTasks", { TaskId, PageNum: 1, PageSize: 20 });
// Alone among the clients this one can send a body of several parts; its values must be texts.
const multipart = env.MULTIPART === "yes";
await call("DeleteLivePullStreamTask", { TaskId, Operator: "night" }, { multipart });
await call("DeleteLivePullStreamTask", { TaskId, Operator: "night" });
