/** Peak memory with very many files: what must not grow with their number. */
import { rm } from 'node:fs/promises';
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
  readonly backup: Measured;
  readonly restore: Measured;
  /** The same as on a host with many processors, where there are more threads and buffers. */
  readonly wide: { readonly processors: number; readonly backup: Measured; readonly restore: Measured };
}

interface Measured {
  readonly seconds: number;
  readonly peakMiB: number;
}

/** The most threads that a run starts, it starts with so many. */
const manyProcessors = 8;

export async function smallTables({ home }: PartOptions, tables: number): Promise<SmallTables> {
  const place = await freshFolder(join(home, 'small'));
  const root = join(place, 'repository');
  await using cluster = await newCluster();
  await manyTables(cluster, tables);
  await settle(cluster);
  const measure = async (processors?: number) => {
    await newRepository(root);
    const more = processors === undefined ? {} : { processors };
    const { totals, ...backup } = await helvino({
      action: 'backup',
      root,
      url: cluster.url,
      level: 1,
      ...more,
    });
    const directory = join(place, 'restored');
    const restore = await helvino({ action: 'restore', root, directory, ...more });
    await rm(directory, { recursive: true, force: true });
    for (const [what, { seconds, peakMiB }] of Object.entries({ backup, restore }))
      say(`${tables} tables: ${what} ${seconds.toFixed(1)} s, ${peakMiB.toFixed(0)} MiB`);
    return { totals, backup, restore };
  };
  const { totals, ...own } = await measure();
  const { totals: _, ...wide } = await measure(manyProcessors);
  return {
    tables,
    files: totals.files,
    bytes: totals.bytes,
    ...own,
    wide: { processors: manyProcessors, ...wide },
  };
}
