/**
 * Backup to and restore from S3 (Ceph RADOS Gateway on loopback, its data in memory) beside the local disk, in turns.
 * Both by the command line; the restore is a cold start each time. The data is that of the comparison: that of pgbench alone would be
 * three objects.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { startS3Server } from '../engine/src/storage/testing/s3-server.ts';
import { debianCluster, settle } from './cluster.ts';
import { fill } from './data.ts';
import { table } from './report.ts';
import { measure, median, run, say } from './tools.ts';
import { HelvinoHome, type WalOptions } from './wal-tools.ts';

type Store = 'disk' | 's3';

export interface S3Results {
  readonly backup: Record<Store, number[]>;
  readonly restore: Record<Store, number[]>;
  /** Seconds of processor time of Helvino, in the same order. */
  readonly cpu: { readonly backup: Record<Store, number[]>; readonly restore: Record<Store, number[]> };
  /** Bytes of the cluster. */
  readonly bytes: number;
}

export async function s3Bench(options: WalOptions): Promise<S3Results> {
  const { home, rounds } = options;
  await using cluster = await debianCluster(home);
  await fill(cluster, options.scale);
  await settle(cluster);
  const server = await startS3Server();
  if (typeof server === 'string') throw new Error(server);
  process.env.AWS_ACCESS_KEY_ID = 'root-key';
  process.env.AWS_SECRET_ACCESS_KEY = 'root-secret';
  try {
    const bucket = await server.bucket();
    const place = `s3://${bucket}/main?endpoint=${server.endpoint}&region=default&pathStyle=true`;
    const homes = {
      disk: await HelvinoHome.make(join(home, 'on-disk'), cluster),
      s3: await HelvinoHome.make(join(home, 'on-s3'), cluster, place),
    };
    const empty = () => ({ disk: [], s3: [] });
    const cpu = { backup: empty(), restore: empty() };
    const results: S3Results = { backup: empty(), restore: empty(), cpu, bytes: 0 };
    let bytes = 0;
    for (let round = 0; round < rounds; round++)
      for (const store of round % 2 === 0 ? (['disk', 's3'] as const) : (['s3', 'disk'] as const)) {
        bytes = await backupAndRestore(homes[store], join(home, 'restored'), {
          backup: [results.backup[store], cpu.backup[store]],
          restore: [results.restore[store], cpu.restore[store]],
        });
        say(
          `${store} ${round + 1}: backup ${results.backup[store].at(-1)!.toFixed(1)} s, restore ${results.restore[store].at(-1)!.toFixed(1)} s`,
        );
      }
    return { ...results, bytes };
  } finally {
    server.stop();
  }
}

async function backupAndRestore(
  place: HelvinoHome,
  target: string,
  into: { readonly backup: readonly [number[], number[]]; readonly restore: readonly [number[], number[]] },
): Promise<number> {
  await run('sync', []);
  const made = await measure(process.execPath, place.words(['backup', '--full']));
  into.backup[0].push(made.seconds);
  into.backup[1].push(made.cpu);
  await run('sync', []);
  const restore = ['restore', '--to-directory', target, '--identity', place.identity];
  const { seconds, cpu } = await measure(process.execPath, place.words(restore));
  into.restore[0].push(seconds);
  into.restore[1].push(cpu);
  await rm(target, { recursive: true, force: true });
  const answer = JSON.parse(made.output) as { result: { totals: { bytes: number } } };
  return answer.result.totals.bytes;
}

export function s3Report(facts: readonly string[], { backup, restore, cpu, bytes }: S3Results): string {
  const rows = (['backup', 'restore'] as const).map((what) => {
    const times = what === 'backup' ? backup : restore;
    const ratio = median(times.s3) / median(times.disk);
    return [
      what,
      median(times.disk).toFixed(1),
      median(times.s3).toFixed(1),
      ratio.toFixed(2),
      '≤ 1.3',
      ratio <= 1.3 ? 'met' : '**missed**',
      `${median(cpu[what].disk).toFixed(1)} and ${median(cpu[what].s3).toFixed(1)}`,
      `disk ${times.disk.map((s) => s.toFixed(1)).join(', ')}; S3 ${times.s3.map((s) => s.toFixed(1)).join(', ')}`,
    ];
  });
  return [
    '# S3 beside the local disk',
    facts.map((line) => `- ${line}`).join('\n'),
    `A cluster of ${(bytes / 1e9).toFixed(2)} GB. The S3 server (Ceph RADOS Gateway, loopback, data in memory) runs on the same two cores. Seconds of wall time of the whole process; processor time is that of Helvino, on the disk and on S3.`,
    table(['', 'disk, s', 'S3, s', 'ratio', 'target', '', 'processor, s', 'rounds'], rows),
  ].join('\n\n');
}
