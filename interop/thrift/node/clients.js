// Apache's Node library as a client of every method over every transport: node clients.js PORT CODE-FOLDER. Each check is a line.
"use strict";
const assert = require("node:assert");
const path = require("node:path");
const thrift = require("thrift");

const [port, code] = [Number(process.argv[2]), process.argv[3]];
const Kinds = require(path.join(code, "Kinds.js"));
const kinds = require(path.join(code, "Kinds_types.js"));
const Calc = require(path.join(code, "Calc.js"));
const calc = require(path.join(code, "calc_types.js"));
const Int64 = require("node-int64");

const transports = { buffered: thrift.TBufferedTransport, framed: thrift.TFramedTransport };
const protocols = { binary: thrift.TBinaryProtocol, compact: thrift.TCompactProtocol };
let failed = 0;

async function check(name, test) {
  try {
    await test();
    console.log(`ok   ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL ${name}\n${error.stack}`);
  }
}

function connect(transport, protocol, url) {
  const options = { transport: transports[transport] ?? thrift.TBufferedTransport, protocol: protocols[protocol] };
  const connection =
    transport === "HTTP"
      ? thrift.createHttpConnection("127.0.0.1", port, { ...options, path: url, headers: { Connection: "close" } })
      : thrift.createConnection("127.0.0.1", port, options);
  connection.on("error", (error) => {
    failed += 1;
    console.log(`FAIL ${transport}, ${protocol}: ${error.stack}`);
  });
  const client = (service, name) => {
    const create = transport === "HTTP" ? thrift.createHttpClient : thrift.createClient;
    if (!name) return create(service, connection);
    const shared = new thrift.Multiplexer();
    return transport === "HTTP" ? create(service, connection) : shared.createClient(name, service, connection);
  };
  return { client, close: () => transport !== "HTTP" && connection.end() };
}

/// Numbers of 64 bits as numbers.
const plain = (value) => JSON.parse(JSON.stringify(value, (_, v) => (v instanceof Int64 ? v.toNumber() : v)));
/// The same with sets, which have no order, in order.
const sorted = (value) => ({ ...plain(value), words: [...value.words].sort() });

/// This library reads every truth value in a container of the compact protocol as false (its readBool takes a number for an object).
function message(protocol) {
  const flags = protocol === "compact" ? {} : { flags: [true, false], by_bool: { true: "t" } };
  return new kinds.All({
    flags: [], by_bool: {}, ...flags,
    a_double: -1.5e300, a_float: 0.25, an_int32: -(2 ** 31), an_int64: new Int64(-5), a_uint32: new Int64(4294967295), a_uint64: new Int64(7),
    a_sint32: -7, a_fixed64: new Int64(5), a_bool: true, a_string: "Grüße, 世界 🎉", some_bytes: Buffer.from([0, 255]), color: kinds.Color.BLUE,
    inner: new kinds.Inner({ from_: "x", children: [new kinds.Inner({ from_: "y", children: [] })] }), maybe: 0, numbers: [0, -1, 2147483647],
    texts: ["", "a"], colors: [kinds.Color.RED], inners: [new kinds.Inner({ from_: "z", children: [] })],
    counts: { a: 0, ü: -1 }, by_number: { 5: new kinds.Inner({ from_: "q", children: [] }) }, word: "w",
    at: new kinds.google_protobuf_Timestamp({ seconds: new Int64(1700000000), nanos: 5 }),
  });
}

function everything() {
  return new calc.Everything({
    yes: true, small: -128, short_one: 32767, n: -1, big: new Int64(9), d: 0.1, s: "Grüße 🎉", raw: Buffer.from([255, 0]), shorts: [1, -2],
    words: ["a", "ü"], counts: { a: 1 }, by_double: { 1.5: "x" }, matrix: [[1, 2], []], nested: { 1: { 2: "z" } }, op: calc.Op.SUB,
    ops: [calc.Op.ADD, calc.Op.MUL], by_op: { 1: new Int64(9) }, shape: new calc.Shape({ line: [1, 2] }), prices: [new Int64(12)], maybe: ["m"],
    inner: new calc.Point({ x: 1, y: 2, z: 3 }), tiny: { 1: -2 }, numbers: [1, 2],
  });
}

async function testKinds(way, client, protocol) {
  await check(`${way}: every type`, async () => assert.deepStrictEqual(plain(await client.Echo(message(protocol))), plain(message(protocol))));
  await check(`${way}: absent fields`, async () => {
    const empty = await client.Echo(new kinds.All());
    assert.deepStrictEqual([empty.an_int32, empty.a_string, empty.numbers, empty.maybe], [0, "", [], null]);
  });
  await check(`${way}: a large message`, async () => {
    const texts = Array(200).fill("ü".repeat(1000));
    assert.deepStrictEqual((await client.Echo(new kinds.All({ texts }))).texts, texts);
  });
  await check(`${way}: every error`, async () => {
    for (const [name, number] of Object.entries(kinds.ErrorCode)) {
      const error = await client.Fail(new kinds.Ask({ name })).then(assert.fail, (error) => error);
      assert(error instanceof kinds.Error, `${error.stack}`);
      assert.deepStrictEqual([error.code, error.message], [number, "as wanted: ü"]);
      assert.strictEqual(error.details[0].type_url, "type.googleapis.com/interop.kinds.Answer");
    }
  });
  await check(`${way}: a reserved word`, async () => {
    assert.strictEqual((await client.delete_(new kinds.Ask({ name: "x" }))).text, "deleted x");
  });
}

async function testCalc(way, client) {
  await check(`${way}: every type of an IDL`, async () => assert.deepStrictEqual(sorted(await client.echo(everything())), sorted(everything())));
  await check(`${way}: parameters`, async () => assert.strictEqual(await client.apply(calc.Op.ADD, 2, 3), 5));
  await check(`${way}: declared exceptions`, async () => {
    const overflow = await client.apply(calc.Op.MUL, 2 ** 30, 4).then(assert.fail, (error) => error);
    assert(overflow instanceof calc.Overflow && overflow.limit === 2147483647, `${overflow.stack}`);
    const missing = await client.apply(77, 1, 1).then(assert.fail, (error) => error);
    assert(missing instanceof calc.Missing && missing.what === "operation", `${missing.stack}`);
  });
  await check(`${way}: lists of lists`, async () => {
    assert.deepStrictEqual(await client.transpose([[1, 2], [3, 4]]), [[1, 3], [2, 4]]);
  });
  await check(`${way}: a map of structs`, async () => {
    assert.deepStrictEqual(plain(await client.points(["a", "bc"])), { a: { x: 1, y: 12, z: null }, bc: { x: 2, y: 12, z: null } });
  });
  await check(`${way}: void and inherited`, async () => {
    await client.nothing();
    assert.strictEqual(await client.ping(), "pong");
  });
  await check(`${way}: oneway`, async () => {
    await client.note(`${way} node`);
    while (!(await client.notes()).includes(`${way} node`));
  });
  await check(`${way}: a fault of the service`, async () => {
    const error = await client.broken().then(assert.fail, (error) => error);
    assert(error instanceof thrift.Thrift.TApplicationException, `${error.stack}`);
  });
  await check(`${way}: calls at once`, async () => {
    const sums = await Promise.all(Array.from({ length: 50 }, (_, n) => client.apply(calc.Op.ADD, n, 1)));
    assert.deepStrictEqual(sums, Array.from({ length: 50 }, (_, n) => n + 1));
  });
}

async function main() {
  for (const transport of ["buffered", "framed", "HTTP"]) {
    for (const protocol of ["binary", "compact"]) {
      const way = `${transport}, ${protocol}`;
      const one = connect(transport, protocol, "/thrift/Kinds");
      await testKinds(way, one.client(Kinds), protocol);
      one.close();
      const other = connect(transport, protocol, "/thrift/Calc");
      await testCalc(way, other.client(Calc));
      other.close();
      if (transport !== "HTTP") {
        const shared = connect(transport, protocol);
        await check(`${way}: multiplexed`, async () => {
          const client = shared.client(Kinds, "Kinds");
          assert.deepStrictEqual(plain(await client.Echo(message(protocol))), plain(message(protocol)));
        });
        shared.close();
      }
    }
  }
  process.exit(failed ? 1 : 0);
}

main();
