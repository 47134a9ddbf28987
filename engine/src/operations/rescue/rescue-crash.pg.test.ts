import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startTestServer } from '../../../test/pg-server.ts';
import { makeLab, same } from './testing/rescue-lab.ts';

test('the connection cut at any moment of an apply or an undo – run again, it ends as if nothing had been', async () => {
  await using server = await startTestServer({ templates: true, major: 18 });
  await using l = await makeLab(server);
  const live = await l.client('live');
  await live.query(`delete from organizations where key = 'demo'; delete from audit`);
  const lost = await l.content('live');
  const plan = await l.plan();
  await l.apply(plan.file);
  const rescued = await l.content('live');
  await l.undo(`${plan.file}.undo`);
  const admin = await l.client('postgres');
  let cut = 0;
  for (let round = 0; round < 12; round++) {
    const files = { undoFile: `${plan.file}.${round}.undo`, redoFile: `${plan.file}.${round}.redo` };
    const run = async (action: 'apply' | 'undo', delay: number | 'at the undo file') => {
      const now = await l.client('live');
      const { rows } = await now.query<{ pid: number }>('select pg_backend_pid() as pid');
      const written = action === 'apply' ? files.undoFile : files.redoFile;
      const work =
        action === 'apply'
          ? l.apply(plan.file, { now, undoFile: files.undoFile })
          : l.undo(files.undoFile, { now, redoFile: files.redoFile });
      const ended = work.catch((thrown: Error) => thrown);
      if (delay === 'at the undo file')
        for (let i = 0; i < 5000 && !existsSync(written); i++) await new Promise(setImmediate);
      else await sleep(delay);
      await admin.query('select pg_terminate_backend($1, 10000)', [rows[0]!.pid]);
      const outcome = await ended;
      if (outcome instanceof Error) cut++;
    };
    const when = round % 3 === 0 ? ('at the undo file' as const) : round * 12;
    await run('apply', when);
    const again = await l.apply(plan.file, { undoFile: files.undoFile });
    assert.ok(['applied', 'nothing-to-do'].includes(again.state));
    assert.equal(again.undoFile, files.undoFile);
    same(await l.content('live'), rescued);
    await run('undo', when);
    const undone = await l.undo(files.undoFile, { redoFile: files.redoFile });
    assert.ok(['applied', 'nothing-to-do'].includes(undone.state));
    same(await l.content('live'), lost);
  }
  assert.ok(cut > 5, `${cut} runs were cut`);
});
