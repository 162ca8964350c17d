// node-redis, in RESP3 (its default) and RESP2: commands, transactions, scripts, pub/sub, iterators, a reconnection.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { createClient, defineScript } from "redis";
import { Server, until } from "./server.mjs";

let server;

before(async () => {
  server = await Server.start();
});

after(async () => server.end());

async function connected(options) {
  const client = createClient({ url: `redis://127.0.0.1:${server.port}`, ...options });
  client.on("error", () => {});
  await client.connect();
  return client;
}

for (const RESP of [2, 3]) {
  describe(`RESP${RESP}`, () => {
    let client;

    before(async () => {
      client = await connected({
        RESP,
        scripts: {
          add: defineScript({
            NUMBER_OF_KEYS: 1,
            SCRIPT: "return redis.call('INCRBY', KEYS[1], ARGV[1])",
            parseCommand(parser, key, amount) {
              parser.pushKey(key);
              parser.push(String(amount));
            },
            transformReply: (reply) => reply,
          }),
        },
      });
      await client.flushAll();
    });

    after(() => client.destroy());

    test("values of every kind", async () => {
      assert.equal(await client.set("s", "v", { EX: 100, NX: true }), "OK");
      assert.equal(await client.set("s", "w", { NX: true }), null);
      assert.equal(await client.hSet("h", { a: "1", b: "2" }), 2);
      assert.deepEqual({ ...(await client.hGetAll("h")) }, { a: "1", b: "2" });
      await client.rPush("l", ["x", "y"]);
      assert.deepEqual(await client.lRange("l", 0, -1), ["x", "y"]);
      await client.sAdd("t", ["m", "n"]);
      assert.deepEqual([...(await client.sMembers("t"))].sort(), ["m", "n"]);
      await client.zAdd("z", [{ score: 1.5, value: "a" }, { score: Infinity, value: "b" }]);
      assert.deepEqual((await client.zRangeWithScores("z", 0, -1)).map(({ value, score }) => [value, score]), [["a", 1.5], ["b", Infinity]]);
      assert.equal(await client.zScore("z", "a"), 1.5);
      await assert.rejects(client.lPush("s", "x"), /WRONGTYPE/);
    });

    test("transactions, with and without a conflict", async () => {
      assert.deepEqual(await client.multi().set("m", "1").incr("m").get("m").exec(), ["OK", 2, "2"]);
      const other = await connected({ RESP });
      await other.watch("m");
      await client.set("m", "changed");
      await assert.rejects(other.multi().set("m", "mine").exec(), /watched keys/i);
      other.destroy();
    });

    test("scripts", async () => {
      assert.equal(await client.add("n", 5), 5);
      await client.scriptFlush();
      assert.equal(await client.add("n", 5), 10);
    });

    test("channels and patterns", async () => {
      const listener = await connected({ RESP });
      const heard = [];
      await listener.subscribe("news", (message, channel) => heard.push([channel, message]));
      await listener.pSubscribe("n*", (message, channel) => heard.push(["n*", channel, message]));
      await client.publish("news", "hello");
      await until(() => heard.length === 2, 5, "both have heard");
      assert.deepEqual(heard, [["news", "hello"], ["n*", "news", "hello"]]);
      listener.destroy();
    });

    test("iterators", async () => {
      await client.mSet(Object.fromEntries(Array.from({ length: 300 }, (_, n) => [`scan:${n}`, String(n)])));
      let count = 0;
      for await (const keys of client.scanIterator({ MATCH: "scan:*", COUNT: 50 })) count += keys.length;
      assert.equal(count, 300);
    });

    test("a blocked client is served by another", async () => {
      const worker = await connected({ RESP });
      const popped = worker.blPop("queue", 50);
      await client.rPush("queue", "job");
      assert.deepEqual({ ...(await popped) }, { key: "queue", element: "job" });
      worker.destroy();
    });

    test("what was acknowledged is there after a crash", async () => {
      for (let n = 0; n < 30; n++) await client.rPush("kept", String(n));
      await server.kill9();
      await server.start();
      await until(() => client.isReady, 10, "the client is back");
      assert.equal(await client.lLen("kept"), 30);
    });
  });
}
