// BullMQ and Bull, the queues of Node: jobs, delays, retries, repetition, flows, and a server that is killed between them.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import Bull from "bull";
import { FlowProducer, Queue, QueueEvents, Worker } from "bullmq";
import { Server, until } from "./server.mjs";

let server;

before(async () => {
  server = await Server.start();
});

after(async () => {
  await server.end();
});

describe("BullMQ", () => {
  const open = [];
  let connection;

  before(() => {
    connection = { host: "127.0.0.1", port: server.port, maxRetriesPerRequest: null, retryStrategy: () => 50 };
  });

  after(async () => {
    await Promise.all(open.map((one) => one.close().catch(() => {})));
  });

  function keep(made) {
    made.on?.("error", () => {});
    open.push(made);
    return made;
  }

  test("jobs are done in order, with results, and leave their counts", async () => {
    const queue = keep(new Queue("plain", { connection }));
    const events = keep(new QueueEvents("plain", { connection }));
    await events.waitUntilReady();
    const seen = [];
    keep(new Worker("plain", async (job) => (seen.push(job.data.n), job.data.n * 2), { connection }));
    const jobs = await queue.addBulk(Array.from({ length: 20 }, (_, n) => ({ name: "double", data: { n } })));
    const results = await Promise.all(jobs.map((job) => job.waitUntilFinished(events, 60000)));
    assert.deepEqual(results, Array.from({ length: 20 }, (_, n) => n * 2));
    assert.deepEqual(seen, Array.from({ length: 20 }, (_, n) => n));
    await until(async () => (await queue.getJobCounts()).completed === 20, 10, "all are counted");
  });

  test("priorities and delays", async () => {
    const queue = keep(new Queue("ordered", { connection }));
    for (const priority of [5, 1, 9, 3]) await queue.add("job", { priority }, { priority });
    const sent = Date.now();
    await queue.add("late", { late: true }, { delay: 600 });
    assert.equal((await queue.getJobCounts("delayed")).delayed, 1);
    const seen = [];
    keep(new Worker("ordered", async (job) => seen.push(job.data.late ? Date.now() - sent : job.data.priority), { connection }));
    await until(() => seen.length === 5, 20, "all are done");
    assert.deepEqual(seen.slice(0, 4), [1, 3, 5, 9]);
    assert.ok(seen[4] >= 590, `${seen[4]} ms`);
  });

  test("retries with backoff, and failure in the end", async () => {
    const queue = keep(new Queue("retried", { connection }));
    keep(
      new Worker(
        "retried",
        async (job) => {
          if (job.attemptsMade < job.data.failures) throw new Error(`attempt ${job.attemptsMade}`);
          return job.attemptsMade;
        },
        { connection },
      ),
    );
    const good = await queue.add("good", { failures: 2 }, { attempts: 5, backoff: { type: "exponential", delay: 30 } });
    const bad = await queue.add("bad", { failures: 9 }, { attempts: 2, backoff: 20 });
    await until(async () => (await good.getState()) === "completed" && (await bad.getState()) === "failed", 20, "both have ended");
    assert.equal((await queue.getJob(good.id)).returnvalue, 2);
    assert.equal((await queue.getJob(bad.id)).failedReason, "attempt 1");
  });

  test("a repeated job", async () => {
    const queue = keep(new Queue("repeated", { connection }));
    let count = 0;
    keep(new Worker("repeated", async () => ++count, { connection }));
    await queue.upsertJobScheduler("ticker", { every: 150 }, { name: "tick" });
    await until(() => count >= 3, 20, "it has run three times");
    assert.equal(await queue.removeJobScheduler("ticker"), true);
  });

  test("a flow: the parent waits for its children", async () => {
    const flows = keep(new FlowProducer({ connection }));
    const queue = keep(new Queue("flow", { connection }));
    const seen = [];
    keep(
      new Worker(
        "flow",
        async (job) => {
          seen.push(job.name);
          return job.name === "parent" ? Object.values(await job.getChildrenValues()).reduce((a, b) => a + b, 0) : job.data.n;
        },
        { connection },
      ),
    );
    const children = [1, 2, 3].map((n) => ({ name: `child${n}`, queueName: "flow", data: { n } }));
    const { job } = await flows.add({ name: "parent", queueName: "flow", data: {}, children });
    await until(async () => (await job.getState()) === "completed", 20, "the parent is done");
    assert.equal((await queue.getJob(job.id)).returnvalue, 6);
    assert.equal(seen.at(-1), "parent");
  });

  test("kill -9 of the server between jobs loses none of them", async () => {
    const queue = keep(new Queue("crash", { connection }));
    const done = new Set();
    const events = [];
    keep(new Worker("crash", async (job) => (await pause(5), done.add(job.data.n)), { connection, stalledInterval: 1000, lockDuration: 2000, maxStalledCount: 100 })).on("failed", (_, error) => events.push(error.message));
    for (let n = 0; n < 40; n++) await queue.add("job", { n });
    await queue.add("late", { n: 40 }, { delay: 1500 });
    await server.kill9();
    await pause(200);
    await server.start();
    await until(() => done.size === 41, 40, `all are done, ${done.size} are; ${events}`);
    await until(async () => (await queue.getJobCounts()).completed === 41, 20, "all are counted");
  });
});

describe("Bull", () => {
  const open = [];

  after(async () => {
    await Promise.all(open.map((queue) => queue.close().catch(() => {})));
  });

  function made(name) {
    const queue = new Bull(name, { redis: { host: "127.0.0.1", port: server.port } });
    queue.on("error", () => {});
    open.push(queue);
    return queue;
  }

  test("jobs, delays, retries and results", async () => {
    const queue = made("bull");
    queue.process(async (job) => {
      if (job.attemptsMade < (job.data.failures ?? 0)) throw new Error("again");
      return job.data.n * 2;
    });
    const jobs = await Promise.all([1, 2, 3].map((n) => queue.add({ n })));
    assert.deepEqual(await Promise.all(jobs.map((job) => job.finished())), [2, 4, 6]);
    assert.equal(await (await queue.add({ n: 5, failures: 2 }, { attempts: 3, backoff: 20 })).finished(), 10);
    const sent = Date.now();
    assert.equal(await (await queue.add({ n: 7 }, { delay: 500 })).finished(), 14);
    assert.ok(Date.now() - sent >= 490);
  });

  test("priorities, pauses and removal", async () => {
    const queue = made("bull-ordered");
    await queue.pause();
    for (const priority of [3, 1, 2]) await queue.add({ priority }, { priority });
    const gone = await queue.add({ priority: 9 }, { priority: 9 });
    await gone.remove();
    const seen = [];
    queue.process(async (job) => seen.push(job.data.priority));
    await queue.resume();
    await until(() => seen.length === 3, 20, "all are done");
    assert.deepEqual(seen, [1, 2, 3]);
  });
});
