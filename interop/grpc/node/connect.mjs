// The same cases by Connect's own clients, over all three protocols: connect-node over HTTP/1.1 and HTTP/2, connect-web by fetch.
// node connect.mjs PORT DESCRIPTOR_SET; a line for each case: `ok NAME` or `FAIL NAME: why`.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createFileRegistry, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import * as node from "@connectrpc/connect-node";
import * as web from "@connectrpc/connect-web";

const [port, set] = process.argv.slice(2);
const service = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(set))).getService(
  "grpc.testing.TestService",
);
const baseUrl = `http://127.0.0.1:${port}`;
const zip = { sendCompression: node.compressionGzip, acceptCompression: [node.compressionGzip, node.compressionBrotli] };
const transports = {
  "connect, HTTP/1.1": [node.createConnectTransport({ baseUrl, httpVersion: "1.1" }), "half"],
  "connect, HTTP/1.1, JSON": [node.createConnectTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: false }), "half"],
  "connect, HTTP/2": [node.createConnectTransport({ baseUrl, httpVersion: "2" }), "full"],
  "connect, HTTP/2, JSON, GET, gzip": [
    node.createConnectTransport({ baseUrl, httpVersion: "2", useBinaryFormat: false, useHttpGet: true, ...zip }),
    "full",
  ],
  "grpc": [node.createGrpcTransport({ baseUrl }), "full"],
  "grpc, JSON, gzip": [node.createGrpcTransport({ baseUrl, useBinaryFormat: false, ...zip }), "full"],
  "grpc-web, HTTP/1.1": [node.createGrpcWebTransport({ baseUrl, httpVersion: "1.1" }), "half"],
  "grpc-web, HTTP/2, JSON": [node.createGrpcWebTransport({ baseUrl, httpVersion: "2", useBinaryFormat: false }), "full"],
  "connect-web by fetch": [web.createConnectTransport({ baseUrl, useHttpGet: true }), "none"],
  "connect-web by fetch, binary": [web.createConnectTransport({ baseUrl, useBinaryFormat: true }), "none"],
  "grpc-web by fetch": [web.createGrpcWebTransport({ baseUrl }), "none"],
};

const RESPONSES = [31415, 9, 2653, 58979];
const SPECIAL = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n";
const INITIAL = "x-grpc-test-echo-initial";
const TRAILING = "x-grpc-test-echo-trailing-bin";
const payload = (size) => ({ body: new Uint8Array(size) });
const large = (more = {}) => ({ responseSize: 314159, payload: payload(27182), ...more });
const output = (...sizes) => ({ responseParameters: sizes.map((size) => ({ size })) });
const all = async (stream) => {
  const sizes = [];
  for await (const response of stream) sizes.push(response.payload.body.length);
  return sizes;
};
const rejected = async (code, promise) => {
  const error = ConnectError.from(await promise.then(() => assert.fail("it did not fail"), (e) => e));
  assert.equal(error.code, code, error.message);
  return error;
};
async function* each(list) {
  yield* list;
}

/** The cases; `streams` says whether the transport can send streams: not, half or full duplex. */
const cases = (client, streams) => ({
  async empty_unary() {
    await client.emptyCall({});
  },
  async large_unary() {
    assert.equal((await client.unaryCall(large())).payload.body.length, 314159);
  },
  async cacheable_unary() {
    assert.equal((await client.cacheableUnaryCall({ responseSize: 5000 })).payload.body.length, 5000);
  },
  async server_streaming() {
    assert.deepEqual(await all(client.streamingOutputCall(output(...RESPONSES))), RESPONSES);
  },
  async timeout_on_sleeping_server() {
    const request = { responseParameters: [{ size: 1, intervalUs: 1000000 }] };
    await rejected(Code.DeadlineExceeded, all(client.streamingOutputCall(request, { timeoutMs: 20 })));
  },
  async cancel_after_first_response() {
    const stop = new AbortController();
    const request = { responseParameters: [{ size: 1 }, { size: 1, intervalUs: 5000000 }] };
    const read = async () => {
      for await (const _ of client.streamingOutputCall(request, { signal: stop.signal })) stop.abort();
    };
    await rejected(Code.Canceled, read());
  },
  async custom_metadata() {
    let header;
    let trailer;
    await client.unaryCall(large(), {
      headers: { [INITIAL]: "test_initial_metadata_value", [TRAILING]: "q6ur" },
      onHeader: (h) => (header = h),
      onTrailer: (t) => (trailer = t),
    });
    assert.equal(header.get(INITIAL), "test_initial_metadata_value");
    assert.equal(trailer.get(TRAILING).replaceAll("=", ""), "q6ur");
  },
  async status_code_and_message() {
    const responseStatus = { code: 2, message: "test status message" };
    const error = await rejected(Code.Unknown, client.unaryCall(large({ responseStatus })));
    assert.equal(error.rawMessage, responseStatus.message);
    const streamed = await rejected(Code.Unknown, all(client.streamingOutputCall({ ...output(), responseStatus })));
    assert.equal(streamed.rawMessage, responseStatus.message);
  },
  async special_status_message() {
    const responseStatus = { code: 2, message: SPECIAL };
    assert.equal((await rejected(Code.Unknown, client.unaryCall(large({ responseStatus })))).rawMessage, SPECIAL);
  },
  async unimplemented_method() {
    await rejected(Code.Unimplemented, client.unimplementedCall({}));
  },
  ...(streams === "none"
    ? {}
    : {
        async client_streaming() {
          const requests = [27182, 8, 1828, 45904].map((size) => ({ payload: payload(size) }));
          assert.equal((await client.streamingInputCall(each(requests))).aggregatedPayloadSize, 74922);
        },
        async half_duplex() {
          assert.deepEqual(await all(client.fullDuplexCall(each(RESPONSES.map((size) => output(size))))), RESPONSES);
        },
        async empty_stream() {
          assert.deepEqual(await all(client.fullDuplexCall(each([]))), []);
        },
      }),
  ...(streams !== "full"
    ? {}
    : {
        async ping_pong() {
          let next;
          const turn = () => new Promise((resolve) => (next = resolve));
          let waiting = turn();
          async function* requests() {
            for (const size of RESPONSES) {
              yield output(size);
              await waiting;
              waiting = turn();
            }
          }
          const sizes = [];
          for await (const response of client.fullDuplexCall(requests())) {
            sizes.push(response.payload.body.length);
            next();
          }
          assert.deepEqual(sizes, RESPONSES);
        },
      }),
});

for (const [transport, [made, streams]] of Object.entries(transports)) {
  for (const [name, run] of Object.entries(cases(createClient(service, made), streams))) {
    let timer;
    const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error("took longer than 30 s")), 30000)));
    try {
      await Promise.race([run(), late]);
      console.log(`ok ${transport}: ${name}`);
    } catch (error) {
      console.log(`FAIL ${transport}: ${name}: ${String(error.message).replaceAll("\n", " | ")}`);
    }
    clearTimeout(timer);
  }
}
process.exit(0);
