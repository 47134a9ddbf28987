#!/usr/bin/env node
// The launcher. Runs on any Node.js from 20 on. On 26 or newer it becomes the engine; on an older one it starts the engine on the
// Node.js 26 that the npm package `node` brings: one more process, and a tenth of a second.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import module, { createRequire } from 'node:module';
import { constants, homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
// An installed package has what scripts/build.ts made, a checkout the sources.
const sources = join(here, '..', 'src', 'main.ts');
const main = existsSync(sources) ? sources : join(here, '..', 'dist', 'main.js');

function findNode() {
  const require = createRequire(import.meta.url);
  try {
    const found = join(dirname(require.resolve('node/package.json')), 'bin', 'node');
    if (existsSync(found)) return found;
  } catch {
    // falls through to the message below
  }
  process.stderr.write(
    `error: Node.js 26 is needed and was not found (this is ${process.version})\n` +
      'hint: run `npm install` in the project, with install scripts allowed for the package "node" (HLV-NODE)\n',
  );
  process.exit(69);
}

// Compiled code is kept between runs: a third of a second less each time. Without a writable folder nothing is kept.
const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'helvino', 'node');
process.env.NODE_COMPILE_CACHE ??= cache;

if (Number(process.versions.node.split('.')[0]) >= 26) {
  module.enableCompileCache(process.env.NODE_COMPILE_CACHE);
  await import(pathToFileURL(main).href);
} else {
  runOn(findNode());
}

function runOn(node) {
  const child = spawn(node, ['--disable-warning=ExperimentalWarning', main, ...process.argv.slice(2)], {
    stdio: 'inherit',
  });
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  for (const signal of signals) process.on(signal, () => child.kill(signal));
  child.on('error', (error) => {
    process.stderr.write(`error: ${node} does not start: ${error.message}\ncode: INTERNAL\n`);
    process.exit(70);
  });
  child.on('exit', (code, signal) => {
    if (signal === null) process.exit(code ?? 70);
    // Ends as the engine did: without our own handler, which would swallow it and exit with 0.
    for (const handled of signals) process.removeAllListeners(handled);
    // The first process of a container is not ended by its own signal: then the status must not be 0.
    process.exitCode = 128 + constants.signals[signal];
    process.kill(process.pid, signal);
  });
}
