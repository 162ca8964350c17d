// ioredis: commands, pipelines, transactions, scripts, pub/sub and a reconnection.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import Redis from "ioredis";
import { Server, until } from "./server.mjs";

let server, redis;

before(async () => {
  server = await Server.start();
  redis = new Redis(server.port, "127.0.0.1");
});

after(async () => {
  redis.disconnect();
  await server.end();
});

test("values of every kind", async () => {
  assert.equal(await redis.set("s", "1", "EX", 100), "OK");
  assert.equal(await redis.incr("s"), 2);
  assert.deepEqual(await redis.getBuffer("s"), Buffer.from("2"));
  await redis.hset("h", { a: "1", b: "2" });
  assert.deepEqual(await redis.hgetall("h"), { a: "1", b: "2" });
  await redis.rpush("l", "x", "y", "z");
  assert.deepEqual(await redis.lrange("l", 0, -1), ["x", "y", "z"]);
  await redis.sadd("t", "m", "n");
  assert.deepEqual((await redis.smembers("t")).sort(), ["m", "n"]);
  await redis.zadd("z", 1.5, "a", 2, "b");
  assert.deepEqual(await redis.zrange("z", 0, -1), ["a", "b"]);
  assert.equal(Number(await redis.zscore("z", "a")), 1.5);
  await assert.rejects(redis.lpush("s", "x"), /WRONGTYPE/);
});

test("pipelines and transactions", async () => {
  const answers = await redis.pipeline().set("p", "1").incr("p").lpush("p", "x").get("p").exec();
  assert.deepEqual(answers.map(([error, value]) => (error ? error.message.split(" ")[0] : value)), ["OK", 2, "WRONGTYPE", "2"]);
  assert.deepEqual(await redis.multi().incr("m").incr("m").exec(), [[null, 1], [null, 2]]);
  const other = redis.duplicate();
  await redis.watch("w");
  await other.set("w", "changed");
  assert.equal(await redis.multi().set("w", "mine").exec(), null);
  other.disconnect();
});

test("scripts are defined once and called by digest", async () => {
  redis.defineCommand("take", { numberOfKeys: 1, lua: "local v = redis.call('GET', KEYS[1]) redis.call('DEL', KEYS[1]) return {v, ARGV[1]}" });
  await redis.set("k", "v");
  assert.deepEqual(await redis.take("k", "arg"), ["v", "arg"]);
  await redis.script("FLUSH");
  assert.deepEqual(await redis.take("k", "arg"), [null, "arg"]);
});

test("channels and patterns", async () => {
  const listener = redis.duplicate();
  const heard = [];
  listener.on("message", (channel, message) => heard.push([channel, message]));
  listener.on("pmessage", (pattern, channel, message) => heard.push([pattern, channel, message]));
  await listener.subscribe("news");
  await listener.psubscribe("n*");
  assert.equal(await redis.publish("news", "hello"), 2);
  await until(() => heard.length === 2, 5, "both have heard");
  assert.deepEqual(heard, [["news", "hello"], ["n*", "news", "hello"]]);
  await listener.unsubscribe("news");
  await listener.punsubscribe("n*");
  assert.equal(await redis.publish("news", "nobody"), 0);
  listener.disconnect();
});

test("a whole keyspace by scanning", async () => {
  await redis.mset(Object.fromEntries(Array.from({ length: 500 }, (_, n) => [`scan:${n}`, n])));
  const found = new Set();
  for await (const keys of redis.scanStream({ match: "scan:*", count: 50 })) keys.forEach((key) => found.add(key));
  assert.equal(found.size, 500);
});

test("what was acknowledged is there after a crash, and the client comes back by itself", async () => {
  const client = new Redis(server.port, "127.0.0.1", { maxRetriesPerRequest: null, retryStrategy: () => 50 });
  client.on("error", () => {});
  for (let n = 0; n < 50; n++) await client.rpush("kept", n);
  await server.kill9();
  const waiting = client.rpush("kept", "after");
  await server.start();
  assert.equal(await waiting, 51);
  assert.equal(await client.llen("kept"), 51);
  client.disconnect();
});
