import assert from 'node:assert/strict';
import { test } from 'node:test';
import { notedProgress } from '../../../test/noted-progress.ts';
import { type MemoryRepository, memoryRepository } from '../../../test/repository-fixture.ts';
import { HelvinoError } from '../../base/errors.ts';
import { silentProgress } from '../../base/progress.ts';
import { damagedObject } from '../../repository/envelope.ts';
import type { Manifest } from '../../repository/index.ts';
import type { StorageDriver } from '../../storage/index.ts';
import { hasCode } from '../../storage/testing/contract-tools.ts';
import { DrillRecorder } from '../drill/recorder.ts';
import { recordVerification } from '../verify/record.ts';
import type { VerifyReport } from '../verify/verify.ts';
import { knownDamage } from './known-damage.ts';

const id = '20260101T000000Z-00000001';

/** A backup, and what may be found of it: each an hour after what was before. */
class Notes {
  readonly one: MemoryRepository;
  readonly manifest: Manifest;

  static async open(): Promise<Notes> {
    const one = await memoryRepository();
    await one.commit(id, []);
    return new Notes(one, await one.repository.manifest('db', id));
  }

  private constructor(one: MemoryRepository, manifest: Manifest) {
    this.one = one;
    this.manifest = manifest;
  }

  /** `more`: other backups that are damaged. */
  async verified(
    depth: VerifyReport['depth'],
    state: 'good' | 'damaged',
    more: readonly string[] = [],
    good: readonly string[] = [],
  ): Promise<void> {
    this.one.clock.advance(3_600_000);
    const of = (damaged: string) => ({ database: 'db', id: damaged, state: 'damaged' as const, damage: [] });
    const seen = good.map((other) => ({ ...of(other), state: 'good' as const }));
    const backups = [...more.map(of), { ...of(id), state }, ...seen];
    const verdict = state === 'good' && more.length === 0 ? 'passed' : 'failed';
    const facts = { others: [], entered: [], packs: 0, archived: 0, bytesRead: 0 };
    await recordVerification(
      this.one.repository,
      { verdict, depth, backups, ...facts },
      { databases: ['db'], clock: this.one.clock, program: 'test', progress: silentProgress },
    );
  }

  /** An incremental backup of the one before. */
  async built(later: string, parent: string): Promise<Manifest> {
    const started = this.one.clock.now().toISOString();
    await this.one.commit(later, [], { kind: 'incremental', parent, started, finished: started });
    return this.one.repository.manifest('db', later);
  }

  async drilled(...checks: readonly [string, HelvinoError | 'passed'][]): Promise<void> {
    this.one.clock.advance(3_600_000);
    const recorder = new DrillRecorder(
      {
        manifest: this.manifest,
        program: 'test',
        clock: this.one.clock,
        progress: silentProgress,
        signal: new AbortController().signal,
        meter: { bytes: 0, requests: 0 },
      },
      [],
    );
    for (const [name, outcome] of checks)
      await recorder.check(name, async () => {
        if (outcome !== 'passed') throw outcome;
        return { state: 'passed', detail: '' };
      });
    const report = recorder.report();
    await this.one.repository.putProof(id, report.id, report);
  }

  async by(): Promise<string | undefined> {
    const said = await knownDamage(this.one.repository, this.manifest, silentProgress);
    return (
      said && /^the (\w+) of 2026-01-\d\d .* found backup 20260101T000000Z-00000001 damaged$/.exec(said)?.[1]
    );
  }

  async damageNewest(): Promise<void> {
    const name = (await this.one.names('verifications/db/')).at(-1)!;
    await this.one.driver.put(name, [Buffer.from('damaged')], { ifAbsent: false });
  }
}

test('nothing was found – nothing is known', async () => {
  const notes = await Notes.open();
  assert.equal(await notes.by(), undefined);
  await notes.verified('every byte', 'good');
  assert.equal(await notes.by(), undefined);
});

test('a verification found it damaged – until one that reads as much finds it good', async () => {
  const notes = await Notes.open();
  await notes.verified('stored bytes', 'damaged');
  assert.equal(await notes.by(), 'verification');
  for (const good of ['structure', 'structure'] as const) {
    await notes.verified(good, 'good');
    assert.equal(await notes.by(), 'verification', 'nobody read the bytes again');
  }
  await notes.verified('stored bytes', 'good');
  assert.equal(await notes.by(), undefined);
  await notes.verified('every byte', 'damaged');
  await notes.verified('stored bytes', 'good');
  assert.equal(await notes.by(), 'verification', 'what only decryption finds');
  await notes.verified('every byte', 'good');
  assert.equal(await notes.by(), undefined);
  await notes.verified('structure', 'damaged');
  assert.equal(await notes.by(), 'verification');
});

test('damage that was found while backups went on – is known of all that build on it, and of none that does not', async () => {
  const notes = await Notes.open();
  const ids = [1, 2, 3].map((n) => `20260101T0${n}0000Z-00000001`) as [string, string, string];
  await notes.built(ids[0], id);
  await notes.built(ids[1], ids[0]);
  const last = await notes.built(ids[2], ids[1]);
  await notes.one.commit('20260101T040000Z-00000001', []);
  const apart = await notes.one.repository.manifest('db', '20260101T040000Z-00000001');
  const of = (manifest: Manifest) => knownDamage(notes.one.repository, manifest, silentProgress);
  // They began before the last ones were there.
  await notes.verified('every byte', 'damaged', [ids[0]]);
  const said = (await of(last))!;
  assert.match(
    said,
    new RegExp(`^the verification of .* found backup ${ids[0]} damaged, on which ${ids[2]}`),
  );
  assert.equal(await of(apart), undefined);
  await notes.verified('every byte', 'good');
  assert.equal(await of(last), said, 'it says nothing of what it has not seen');
  await notes.verified('structure', 'good', [], ids);
  assert.equal(await of(last), said, 'it has not read so much');
  await notes.verified('every byte', 'good', [], [ids[0]]);
  assert.equal(await of(last), undefined);
  await notes.drilled(['restore', damagedObject('packs/aa/aaaa', 'it was changed')]);
  assert.match(
    (await of(last))!,
    new RegExp(`^the drill of .* found backup ${id} damaged, on which ${ids[2]}`),
  );
  assert.equal(await of(apart), undefined);
  await notes.verified('every byte', 'good', [], ids);
  assert.equal(await of(last), undefined);
});

test('damage that was mended before an incremental backup – is not known of that', async () => {
  const notes = await Notes.open();
  await notes.verified('stored bytes', 'damaged');
  await notes.drilled(['restore', damagedObject('packs/aa/aaaa', 'it was changed')]);
  await notes.verified('every byte', 'good');
  notes.one.clock.advance(60_000);
  const next = await notes.built('20260101T050000Z-00000001', id);
  assert.equal(await knownDamage(notes.one.repository, next, silentProgress), undefined);
  notes.one.clock.advance(3_600_000);
  const later = await notes.built('20260101T060000Z-00000001', next.id);
  assert.equal(await knownDamage(notes.one.repository, later, silentProgress), undefined);
});

test('many others are damaged, too – it is known all the same', async () => {
  const notes = await Notes.open();
  const others = Array.from({ length: 30 }, (_, i) => `20251201T0000${i + 10}Z-00000001`);
  await notes.verified('structure', 'good', others);
  assert.equal(await notes.by(), undefined);
  await notes.verified('structure', 'damaged', others);
  assert.equal(await notes.by(), 'verification');
});

test('a drill failed because of damage – until one restores it, or a verification reads it', async () => {
  const damage = damagedObject('packs/aa/aaaa', 'it was changed');
  const notes = await Notes.open();
  await notes.drilled(['restore', damage]);
  assert.equal(await notes.by(), 'drill');
  await notes.drilled(['start', new HelvinoError('BINARIES_NOT_FOUND', 'no server')]);
  assert.equal(await notes.by(), 'drill', 'this one did not come far enough');
  await notes.verified('structure', 'good');
  assert.equal(await notes.by(), 'drill');
  await notes.verified('stored bytes', 'good');
  assert.equal(await notes.by(), undefined);
  await notes.drilled(['restore', 'passed'], ['row counts', damage]);
  assert.equal(await notes.by(), 'drill');
  await notes.drilled(['restore', 'passed'], ['assertion', new HelvinoError('CHECK_FAILED', 'no')]);
  assert.equal(await notes.by(), undefined);
});

test('a drill failed by an assertion, or by WAL that is stored besides – says nothing of the backup', async () => {
  const notes = await Notes.open();
  await notes.drilled(['restore', 'passed'], ['assertion', new HelvinoError('CHECK_FAILED', 'no')]);
  assert.equal(await notes.by(), undefined);
  await notes.drilled(['restore', damagedObject('wal/db/00000001/0-1', 'it was changed')]);
  assert.equal(await notes.by(), undefined);
});

test('a note that cannot be read – told; what others say counts', async () => {
  const notes = await Notes.open();
  await notes.verified('structure', 'good');
  await notes.damageNewest();
  const { progress, notes: told } = notedProgress();
  assert.equal(await knownDamage(notes.one.repository, notes.manifest, progress), undefined);
  assert.match(told.join(), /verifications\/db\/.* is damaged/);
  await notes.verified('structure', 'damaged');
  await notes.verified('every byte', 'good');
  await notes.damageNewest();
  assert.equal(await notes.by(), 'verification');
});

test('the store is away, or refuses the notes – an error, or nothing known', async () => {
  const notes = await Notes.open();
  await notes.verified('stored bytes', 'damaged');
  await notes.drilled(['restore', damagedObject('packs/aa/aaaa', 'it was changed')]);
  const { driver, repository } = notes.one;
  for (const part of ['verifications/', 'proofs/']) {
    const failing = (code: HelvinoError['code']) => {
      const changed = {
        ...driver,
        list: (prefix: string) => driver.list(prefix),
        get: async (name: string) => {
          if (name.startsWith(part)) throw new HelvinoError(code, name);
          return driver.get(name);
        },
      } as StorageDriver;
      return knownDamage(repository.on(changed), notes.manifest, silentProgress);
    };
    await assert.rejects(failing('STORAGE_UNAVAILABLE'), hasCode('STORAGE_UNAVAILABLE'));
    // The other note is still there.
    const other = part === 'proofs/' ? /the verification/ : /the drill/;
    for (const code of ['STORAGE_DENIED', 'STORAGE_IO'] as const) assert.match((await failing(code))!, other);
  }
});
