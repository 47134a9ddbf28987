/** Histories of timelines, as far as they can be read: one that is damaged hides where its timeline left its parent, and no WAL. */
import { HelvinoError } from '../../base/errors.ts';
import { parseTimelineHistory } from '../../postgres/index.ts';
import { listLogFiles, openLogFile, type Repository } from '../../repository/index.ts';

export interface Histories {
  /** By name. */
  readonly files: ReadonlyMap<string, Uint8Array>;
  /** What is wrong with the others, by their timelines. */
  readonly unread: ReadonlyMap<number, string>;
}

export async function readHistories(repository: Repository, database: string): Promise<Histories> {
  const files = new Map<string, Uint8Array>();
  const unread = new Map<number, string>();
  for await (const object of listLogFiles(repository.driver, database, 'history')) {
    const name = object.slice(object.lastIndexOf('/') + 1);
    try {
      const bytes = await openLogFile(repository, object);
      parseTimelineHistory(bytes);
      files.set(name, bytes);
    } catch (thrown) {
      if (!(thrown instanceof HelvinoError) || !isOfThisFile(thrown)) throw thrown;
      unread.set(Number.parseInt(name.slice(0, 8), 16), thrown.message);
    }
  }
  return { files, unread };
}

/** Also one byte of the key's id that was changed makes another key of it. */
function isOfThisFile({ code }: HelvinoError): boolean {
  return code === 'REPOSITORY_DAMAGED' || code === 'KEY_WRONG' || code === 'PROTOCOL';
}

/** For people. */
export function unreadWords(timeline: number, why: string): string {
  return `the history of timeline ${timeline} cannot be read (${why}): where it left its parent is not known, and what it has from before that is shown as its own; no restore to a moment begins until that file is whole: take it from another copy of the repository`;
}
