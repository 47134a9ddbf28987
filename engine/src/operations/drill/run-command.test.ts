import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '../../base/clock.ts';
import { isGone } from '../../base/process-state.ts';
import { Command } from './run-command.ts';

const options = { directory: '/', env: {}, outer: { PATH: process.env.PATH }, clock: systemClock };

async function gone(pid: number): Promise<boolean> {
  for (let i = 0; i < 200 && !isGone(pid); i++) await sleep(50);
  return isGone(pid);
}

test('a command that ends – its status and what it printed; nothing of its group is left', async () => {
  const command = new Command({ ...options, command: `sleep 1000 & echo "$!"; echo oops >&2; exit 3` });
  assert.equal(await command.endsWithin(60_000, new AbortController().signal), true);
  await command.stop();
  assert.equal(command.outcome, 'ended with status 3');
  assert.equal(command.lines.at(-1), 'oops');
  assert.ok(await gone(Number(command.lines[0])));
});

test('an application that prints its environment – its secrets are not in what is kept', async () => {
  const env = { KEY: 'geheim', LONGER: 'geheimnis', OTHER: 'plain' };
  const secrets = ['geheim', 'geheimnis', ''];
  const command = new Command({ ...options, env, secrets, command: 'echo "$KEY $LONGER $OTHER"' });
  await command.endsWithin(60_000, new AbortController().signal);
  await command.stop();
  assert.deepEqual(command.lines, ['*** *** plain']);
});

test('a daemon that leaves the group – ends with the command, too', async () => {
  const command = new Command({ ...options, command: `setsid sleep 1000 & echo "$!"; exec sleep 1000` });
  for (let i = 0; i < 200 && command.lines.length === 0; i++) await sleep(50);
  const pid = Number(command.lines[0]);
  assert.ok(pid > 0 && !isGone(pid));
  await command.stop();
  assert.ok(await gone(pid), `${pid} still runs`);
});

test('a directory that is not there – said so, and not that there is no shell', async () => {
  const command = new Command({ ...options, directory: '/nowhere/app', command: 'true' });
  assert.equal(await command.endsWithin(60_000, new AbortController().signal), true);
  await command.stop();
  assert.equal(command.outcome, 'could not be started: its directory /nowhere/app is not there');
});

test('Helvino is killed – the command and what it has started end with it', async () => {
  const script = `
    import { Command } from ${JSON.stringify(new URL('./run-command.ts', import.meta.url).href)};
    import { systemClock } from ${JSON.stringify(new URL('../../base/clock.ts', import.meta.url).href)};
    const command = new Command({ command: 'sleep 1000 & echo $!; echo $$; exec sleep 1000', directory: '/', env: {}, outer: process.env, clock: systemClock });
    for (;;) {
      await systemClock.sleep(20);
      if (command.lines.length === 2) break;
    }
    console.log(command.lines.join(' '));
    await systemClock.sleep(100_000);`;
  const helvino = spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', script],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  const [line] = (await once(helvino.stdout, 'data')) as [Buffer];
  const pids = line.toString().trim().split(' ').map(Number);
  assert.equal(pids.length, 2);
  assert.ok(pids.every((pid) => !isGone(pid)));
  helvino.kill('SIGKILL');
  for (const pid of pids) assert.ok(await gone(pid), `${pid} still runs`);
});
