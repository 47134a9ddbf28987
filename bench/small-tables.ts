/** Peak memory with very many files: what must not grow with their number. */
import { join } from 'node:path';
import { newCluster, settle } from './cluster.ts';
import type { PartOptions } from './comparison.ts';
import { freshFolder, helvino, newRepository } from './contenders.ts';
import { manyTables } from './data.ts';
import { say } from './tools.ts';

export interface SmallTables {
  readonly tables: number;
  readonly files: number;
  readonly bytes: number;
  readonly backup: { readonly seconds: number; readonly peakMiB: number };
  readonly restore: { readonly seconds: number; readonly peakMiB: number };
}

export async function smallTables({ home }: PartOptions, tables: number): Promise<SmallTables> {
  const place = await freshFolder(join(home, 'small'));
  const root = join(place, 'repository');
  await using cluster = await newCluster();
  await manyTables(cluster, tables);
  await settle(cluster);
  await newRepository(root);
  const { totals, ...backup } = await helvino({ action: 'backup', root, url: cluster.url, level: 1 });
  say(`${tables} tables: backup ${backup.seconds.toFixed(1)} s, ${backup.peakMiB.toFixed(0)} MiB`);
  const restore = await helvino({ action: 'restore', root, directory: join(place, 'restored') });
  say(`${tables} tables: restore ${restore.seconds.toFixed(1)} s, ${restore.peakMiB.toFixed(0)} MiB`);
  return { tables, files: totals.files, bytes: totals.bytes, backup, restore };
}
