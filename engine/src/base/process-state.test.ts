import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { isGone, processFields } from './process-state.ts';

test('a process that runs, one that is dead but not waited for, one that is no more – only the first is there', async () => {
  assert.equal(isGone(process.pid), false);
  // The shell does not wait for its child, since it has become something else.
  const shell = spawn('sh', ['-c', 'sleep 0 & echo $!; exec sleep 60'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  try {
    const [line] = (await once(shell.stdout, 'data')) as [Buffer];
    const child = Number(line.toString());
    while (processFields(child)?.[0] !== 'Z') await new Promise((resolve) => setTimeout(resolve, 10));
    assert.equal(isGone(child), true);
    assert.equal(isGone(shell.pid!), false);
  } finally {
    const ended = once(shell, 'exit');
    shell.kill('SIGKILL');
    await ended;
  }
  assert.equal(isGone(shell.pid!), true);
});
