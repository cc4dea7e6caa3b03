// gRPC's interoperability cases by @grpc/grpc-js. node grpc.mjs PORT PROTO; a line for each case: `ok NAME` or `FAIL NAME: why`.
import assert from "node:assert/strict";
import grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const [port, proto] = process.argv.slice(2);
const { TestService, UnimplementedService } = grpc.loadPackageDefinition(loadSync(proto, { keepCase: true, longs: Number }))
  .grpc.testing;
const target = `127.0.0.1:${port}`;
const plain = grpc.credentials.createInsecure();
const client = new TestService(target, plain);
const zipping = new TestService(target, plain, { "grpc.default_compression_algorithm": 2 });

const REQUESTS = [27182, 8, 1828, 45904];
const RESPONSES = [31415, 9, 2653, 58979];
const SPECIAL = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n";
const INITIAL = "x-grpc-test-echo-initial";
const TRAILING = "x-grpc-test-echo-trailing-bin";
const payload = (size) => ({ body: Buffer.alloc(size) });
const large = (more = {}) => ({ response_size: 314159, payload: payload(271828), ...more });
const output = (...sizes) => ({ response_parameters: sizes.map((size) => ({ size })) });

const unary = (method, request, metadata = new grpc.Metadata(), by = client, options = {}) =>
  new Promise((resolve, reject) => {
    const seen = {};
    const call = by[method](request, metadata, options, (error, response) =>
      error ? reject(error) : setImmediate(() => resolve({ response, ...seen })),
    );
    call.on("metadata", (m) => (seen.initial = m));
    call.on("status", (s) => (seen.status = s));
  });
const rejected = async (code, promise) => {
  const error = await promise.then(() => assert.fail("it did not fail"), (e) => e);
  assert.equal(error.code, code, error.message);
  return error;
};
/** The lengths of what a stream gives, and its status. */
const drain = (call, onData = () => {}) =>
  new Promise((resolve) => {
    const seen = { sizes: [] };
    call.on("metadata", (m) => (seen.initial = m));
    call.on("data", (r) => {
      seen.sizes.push(r.payload.body.length);
      onData(seen.sizes.length);
    });
    call.on("error", () => {});
    call.on("status", (status) => resolve({ ...seen, status }));
  });
const upload = (by, begin = () => {}) =>
  new Promise((resolve, reject) => {
    const call = by.StreamingInputCall((error, response) => (error ? reject(error) : resolve(response)));
    begin(call);
  });

const cases = {
  async empty_unary() {
    await unary("EmptyCall", {});
  },
  async large_unary() {
    const { response } = await unary("UnaryCall", large());
    assert.equal(response.payload.body.length, 314159);
  },
  async client_compressed_unary() {
    const { response } = await unary("UnaryCall", large(), new grpc.Metadata(), zipping);
    assert.equal(response.payload.body.length, 314159);
  },
  async client_streaming() {
    for (const by of [client, zipping]) {
      const response = await upload(by, (call) => {
        for (const size of REQUESTS) call.write({ payload: payload(size) });
        call.end();
      });
      assert.equal(response.aggregated_payload_size, 74922);
    }
  },
  async server_streaming() {
    const { sizes, status } = await drain(client.StreamingOutputCall(output(...RESPONSES)));
    assert.deepEqual([sizes, status.code], [RESPONSES, 0]);
  },
  async ping_pong() {
    const call = client.FullDuplexCall();
    const send = (n) => call.write({ ...output(RESPONSES[n]), payload: payload(REQUESTS[n]) });
    const ended = drain(call, (n) => (n < 4 ? send(n) : call.end()));
    send(0);
    const { sizes, status } = await ended;
    assert.deepEqual([sizes, status.code], [RESPONSES, 0]);
  },
  async empty_stream() {
    const call = client.FullDuplexCall();
    const ended = drain(call);
    call.end();
    const { sizes, status } = await ended;
    assert.deepEqual([sizes, status.code], [[], 0]);
  },
  async cancel_after_begin() {
    await rejected(1, upload(client, (call) => setImmediate(() => call.cancel())));
  },
  async cancel_after_first_response() {
    const call = client.FullDuplexCall();
    const ended = drain(call, () => call.cancel());
    call.write({ ...output(RESPONSES[0]), payload: payload(REQUESTS[0]) });
    const { sizes, status } = await ended;
    assert.deepEqual([sizes.length, status.code], [1, 1]);
  },
  async timeout_on_sleeping_server() {
    const call = client.FullDuplexCall(new grpc.Metadata(), { deadline: Date.now() + 10 });
    const ended = drain(call);
    call.write({ response_parameters: [{ size: 1, interval_us: 1000000 }] });
    assert.equal((await ended).status.code, 4);
  },
  async custom_metadata() {
    const metadata = new grpc.Metadata();
    metadata.set(INITIAL, "test_initial_metadata_value");
    metadata.set(TRAILING, Buffer.from("ababab", "hex"));
    const check = ({ initial, status }) => {
      assert.deepEqual(initial.get(INITIAL), ["test_initial_metadata_value"]);
      assert.equal(status.metadata.get(TRAILING)[0].toString("hex"), "ababab");
    };
    check(await unary("UnaryCall", large(), metadata));
    const call = client.FullDuplexCall(metadata);
    const ended = drain(call);
    call.write(output(9));
    call.end();
    check(await ended);
  },
  async status_code_and_message() {
    const response_status = { code: 2, message: "test status message" };
    const error = await rejected(2, unary("UnaryCall", large({ response_status })));
    assert.equal(error.details, response_status.message);
    const call = client.FullDuplexCall();
    const ended = drain(call);
    call.write({ response_status });
    const { status } = await ended;
    assert.deepEqual([status.code, status.details], [2, response_status.message]);
  },
  async special_status_message() {
    const response_status = { code: 2, message: SPECIAL };
    assert.equal((await rejected(2, unary("UnaryCall", large({ response_status })))).details, SPECIAL);
  },
  async unimplemented_method() {
    await rejected(12, unary("UnimplementedCall", {}));
  },
  async unimplemented_service() {
    const other = new UnimplementedService(target, plain);
    await rejected(12, unary("UnimplementedCall", {}, new grpc.Metadata(), other));
    other.close();
  },
};

for (const [name, run] of Object.entries(cases)) {
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error("took longer than 30 s")), 30000)));
  try {
    await Promise.race([run(), late]);
    console.log(`ok grpc-js: ${name}`);
  } catch (error) {
    console.log(`FAIL grpc-js: ${name}: ${String(error.message).replaceAll("\n", " | ")}`);
  }
  clearTimeout(timer);
}
client.close();
zipping.close();
