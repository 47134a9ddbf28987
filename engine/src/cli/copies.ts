/** What verbs that write to several copies have in common. */
import type { Mirrors } from '../repository/index.ts';
import type { CliContext } from './context.ts';
import type { HostAccess } from './open.ts';

const everyMs = 30_000;

export function copiesText(mirrors: Mirrors | undefined): string[] {
  return (mirrors?.states ?? []).map(({ name, place, state, why }) =>
    state === 'current'
      ? `also stored and read back in ${name} (${place})`
      : `NOT in ${name} (${place}): ${why}; helvino copy ${name} brings it there`,
  );
}

/** 1 when a copy was left behind: all is not as it was meant to be. */
export function copiesExit(mirrors: Mirrors | undefined): number {
  return mirrors?.states.some(({ state }) => state === 'behind') ? 1 : 0;
}

/**
 * While WAL comes: copies that were left behind join again as soon as they can, and get what they missed. Settles after the
 * signal.
 */
export async function keepCopiesUp(host: HostAccess, context: CliContext): Promise<void> {
  const { mirrors } = host;
  if (mirrors === undefined) return;
  // Now, and not when a copy is behind: by then an upgrade may have changed the files.
  const { copyLog } = await import('../operations/copies/index.ts');
  const { signal, clock, progress } = context;
  while (!signal.aborted) {
    await clock.sleep(everyMs, signal).catch(() => undefined);
    for (const { name, state } of mirrors.states) {
      if (state === 'current' || signal.aborted) continue;
      await mirrors.rejoin(name, async (target) => {
        await copyLog({ source: mirrors.repository, target, database: host.name, clock, progress, signal });
      });
      if (mirrors.states.some((copy) => copy.name === name && copy.state === 'current'))
        progress.note('info', `the copy ${name} has caught up`);
    }
  }
}
