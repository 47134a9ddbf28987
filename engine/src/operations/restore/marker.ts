/**
 * The marker of a half-made directory: of which backup, and which process is at work. Durable before anything else is
 * written, and replaced as a whole: one that cannot be read is never that of a restore which had begun to write.
 */
import { constants } from 'node:fs';
import { open, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { HelvinoError, systemCode } from '../../base/errors.ts';
import { isGone, processPlace, startTime } from '../../base/process-state.ts';
import { syncFolder } from '../../base/sync-path.ts';

/** Present in a directory while a restore into it is not complete. */
export const markerName = 'helvino-restore.json';

const markerSchema = z.object({
  backup: z.string(),
  place: z.string().optional(),
  pid: z.number().int().optional(),
  start: z.string().optional(),
});
export type Marker = z.infer<typeof markerSchema>;

/** What a marker says of the process that restores. */
export function restoringProcess(): Omit<Marker, 'backup'> {
  return { place: processPlace(), pid: process.pid, start: startTime(process.pid) };
}

/** Undefined: it is not a marker. `cut`: a plain file that is empty or breaks off, as when its restore was killed at once. */
export async function readMarker(directory: string): Promise<Marker | 'cut' | undefined> {
  let text: string;
  try {
    // Others may be able to write here: no link is followed, no pipe waited for.
    const handle = await open(
      join(directory, markerName),
      constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK,
    );
    await using _ = handle;
    if (!(await handle.stat()).isFile()) return undefined;
    text = await handle.readFile('utf8');
  } catch {
    return undefined;
  }
  try {
    return markerSchema.parse(JSON.parse(text));
  } catch {
    return text.endsWith('\n') ? undefined : 'cut';
  }
}

/** The restore that wrote the marker still runs: another one would write beside it, and on after a server was started. */
export function isAtWork({ place, pid, start }: Marker): boolean {
  if (pid === undefined || pid === process.pid || place !== processPlace()) return false;
  return !isGone(pid) && startTime(pid) === start;
}

/** `first`: nothing is there yet; of two that begin at once only one goes on, the other gets TARGET_IN_USE. */
export async function writeMarker(
  directory: string,
  marker: Marker & Record<string, unknown>,
  { first }: { first: boolean },
): Promise<void> {
  const path = join(directory, markerName);
  const text = `${JSON.stringify(marker)}\n`;
  const asNew = { mode: 0o600, flag: 'wx', flush: true };
  if (first) {
    await writeFile(path, text, asNew).catch((thrown: unknown) => {
      throw systemCode(thrown) === 'EEXIST' ? restoredNow(directory) : thrown;
    });
  } else {
    const aside = `${path}.new`;
    await rm(aside, { recursive: true, force: true });
    await writeFile(aside, text, asNew);
    await rename(aside, path);
  }
  await syncFolder(directory);
}

export function restoredNow(directory: string, pid?: number): HelvinoError {
  const who = pid === undefined ? '' : ` (process ${pid})`;
  return new HelvinoError('TARGET_IN_USE', `another restore${who} is writing into ${directory}`, {
    hint: 'wait for it or end it; then the same command goes on where it was',
    context: { directory, pid },
  });
}
