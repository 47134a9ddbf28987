import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import pg from 'pg';
import { startTestServer, testMajors } from '../../test/pg-server.ts';
import { HelvinoError } from '../base/errors.ts';
import { type ControlFacts, readControlFile } from './control-file.ts';
import { formatLsn } from './lsn.ts';

const config = {
  max_connections: 37,
  max_worker_processes: 11,
  max_wal_senders: 7,
  max_prepared_transactions: 3,
  max_locks_per_transaction: 77,
  wal_level: 'logical',
  wal_log_hints: 'on',
  track_commit_timestamp: 'on',
};

for (const major of testMajors) {
  const checksums = major % 2 === 0;
  test(`control file of PostgreSQL ${major} – the facts that the server itself reports`, async () => {
    // With 18 checksums are on unless asked otherwise.
    const initdbArgs = ['--wal-segsize=4', ...(checksums ? ['-k'] : [])];
    await using server = await startTestServer({ major, config, initdbArgs });
    const client = new pg.Client(server.url);
    client.on('error', () => {});
    await client.connect();
    await client.query('create table t (a int); checkpoint');
    const { rows } = await client.query<Record<string, string>>(`
      select s.system_identifier::text as system, s.pg_control_version::text as control, s.catalog_version_no::text as catalog,
        c.checkpoint_lsn::text as lsn, c.redo_lsn::text as redo, c.timeline_id::text as tli, c.prev_timeline_id::text as prev,
        c.full_page_writes::text as fpw, c.next_xid as xid, c.next_oid::text as oid, c.oldest_xid::text as oldest,
        extract(epoch from c.checkpoint_time)::bigint::text as time, i.database_block_size::text as page,
        i.blocks_per_segment::text as segment, i.wal_block_size::text as walpage, i.bytes_per_wal_segment::text as walsegment,
        i.data_page_checksum_version::text as checksums
      from pg_control_system() s, pg_control_checkpoint() c, pg_control_init() i`);
    const facts = readControlFile(await readFile(join(server.dataDir, 'global/pg_control')));
    await client.end();
    assert.deepEqual(asServerSays(facts), rows[0]);
    assert.equal(facts.state, 'in production');
    assert.equal(facts.dataChecksumVersion, checksums ? 1 : 0);
    assert.equal(facts.walSegmentSize, 4 << 20);
    assert.deepEqual(facts.settings, {
      walLevel: 'logical',
      walLogHints: true,
      maxConnections: 37,
      maxWorkerProcesses: 11,
      maxWalSenders: 7,
      maxPreparedTransactions: 3,
      maxLocksPerTransaction: 77,
      trackCommitTimestamp: true,
    });
    await server.stop();
    const bytes = await readFile(join(server.dataDir, 'global/pg_control'));
    assert.equal(readControlFile(bytes).state, 'shut down');
    flipped(bytes);
  });
}

function asServerSays(facts: ControlFacts): Record<string, string> {
  const { checkpoint } = facts;
  return {
    system: facts.systemId,
    control: String(facts.controlVersion),
    catalog: String(facts.catalogVersion),
    lsn: formatLsn(checkpoint.lsn),
    redo: formatLsn(checkpoint.redo),
    tli: String(checkpoint.timeline),
    prev: String(checkpoint.previousTimeline),
    fpw: String(checkpoint.fullPageWrites),
    xid: `${checkpoint.nextXid >> 32n}:${checkpoint.nextXid & 0xffffffffn}`,
    oid: String(checkpoint.nextOid),
    oldest: String(checkpoint.oldestXid),
    time: String(checkpoint.time.getTime() / 1000),
    page: String(facts.pageSize),
    segment: String(facts.relationSegmentPages),
    walpage: String(facts.walPageSize),
    walsegment: String(facts.walSegmentSize),
    checksums: String(facts.dataChecksumVersion),
  };
}

/** Any one bit of what the checksum covers, and any cut, is noticed. */
function flipped(bytes: Uint8Array): void {
  fc.assert(
    fc.property(fc.nat(287), fc.nat(7), (at, bit) => {
      const copy = Uint8Array.from(bytes);
      copy[at] = copy[at]! ^ (1 << bit);
      assert.throws(() => readControlFile(copy), isProtocol);
    }),
  );
  fc.assert(
    fc.property(fc.nat(287), (length) =>
      assert.throws(() => readControlFile(bytes.subarray(0, length)), isProtocol),
    ),
  );
}

function isProtocol(thrown: unknown): boolean {
  return thrown instanceof HelvinoError && thrown.code === 'PROTOCOL';
}
