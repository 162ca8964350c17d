// Starts, kills and restarts the server under test, on a free loopback port and a directory of its own.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";

// A loopback port below the ephemeral range, so that no outgoing connection can take it between two starts.
async function freePort() {
  for (;;) {
    const port = 20000 + Math.floor(Math.random() * 12000);
    const probe = createServer();
    const free = await new Promise((done) => {
      probe.once("error", () => done(false));
      probe.listen(port, "127.0.0.1", () => done(true));
    });
    if (!free) continue;
    await new Promise((done) => probe.close(done));
    return port;
  }
}

function ping(port) {
  return new Promise((resolve) => {
    const socket = createConnection(port, "127.0.0.1");
    socket.setTimeout(2000);
    const done = (answer) => {
      socket.destroy();
      resolve(answer);
    };
    socket.on("connect", () => socket.write("PING\r\n"));
    socket.on("data", (data) => done(String(data).startsWith("+PONG")));
    socket.on("error", () => done(false));
    socket.on("timeout", () => done(false));
  });
}

export class Server {
  static async start() {
    const server = new Server();
    server.port = await freePort();
    server.directory = mkdtempSync(join(tmpdir(), "graven-node-"));
    await server.start();
    return server;
  }

  async start() {
    const binary = process.env.GRAVEN_TEST_SERVER;
    const words = ["--port", this.port, "--bind", "127.0.0.1", "--dir", this.directory, "--appendonly", "yes", "--appendfsync", "always", "--save", ""];
    this.log = [];
    this.process = spawn(binary, words.map(String), { stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [this.process.stdout, this.process.stderr]) stream.on("data", (data) => this.log.push(String(data)));
    this.ended = new Promise((done) => this.process.on("exit", done));
    for (let attempt = 0; attempt < 6000; attempt++) {
      if (this.process.exitCode !== null) break;
      if (await ping(this.port)) return;
      await pause(20);
    }
    throw new Error(`the server did not start:\n${this.log.join("")}`);
  }

  // The crash: no handler of the process runs.
  async kill9() {
    this.process.kill("SIGKILL");
    await this.ended;
  }

  async end() {
    await this.kill9();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

// Waits until `condition` gives something true, which is returned. `seconds` is what it may take on a machine at rest; a busy one is given
// a minute at least.
export async function until(condition, seconds, what) {
  seconds = Math.max(2 * seconds, 60);
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`not within ${seconds} s: ${what}`);
    await pause(20);
  }
}
