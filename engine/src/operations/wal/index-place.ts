/** Where the index of a timeline goes on. */
import { decodeLogIndex, type IndexState } from '../../postgres/index.ts';
import { type LogNote, logNotes, openLogNote, type Repository } from '../../repository/index.ts';

export interface IndexPlace {
  /** Undefined: nothing is known of before. */
  readonly state: IndexState | undefined;
  /** The end of what is indexed. */
  readonly end: bigint | undefined;
}

/** After the newest part of a timeline that ends at or before `limit`. A part that cannot be read counts as not there. */
export async function indexPlace(
  repository: Repository,
  database: string,
  { timeline, limit }: { timeline: number; limit?: bigint },
): Promise<IndexPlace> {
  let newest: LogNote[] = [];
  for await (const note of logNotes(repository.driver, database, 'index'))
    if (note.line === timeline && (limit === undefined || note.end <= limit))
      newest = [...newest, note].sort((a, b) => (a.end < b.end ? 1 : -1)).slice(0, 3);
  for (const note of newest) {
    try {
      const part = decodeLogIndex(await openLogNote(repository, note.name), note.name);
      return { state: part.state, end: part.end };
    } catch {
      // the one before it will do
    }
  }
  return { state: undefined, end: undefined };
}
