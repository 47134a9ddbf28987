/** Notes about WAL that is no longer stored (see repository/log-notes.ts): they are of no use without it. */
import { LogIndex, type LogNote, listLog, listLogNotes, type Repository } from '../../repository/index.ts';

/** Removes them; what a stopped run left, too. The last names before the first WAL stay: they say what it is about. */
export async function removeStaleNotes(repository: Repository, database: string): Promise<void> {
  const { driver } = repository;
  // The notes first: WAL that is stored meanwhile then has none among them.
  const index = await LogIndex.read(driver, database);
  const names = await listLogNotes(repository, database, 'names');
  const first = new Map<number, bigint>();
  for await (const { line, begin } of listLog(driver, database)) if (!first.has(line)) first.set(line, begin);
  const newest = Math.max(0, ...first.keys());
  const stale = (note: LogNote) => {
    const from = first.get(note.line);
    return from === undefined ? note.line < newest : note.end <= from;
  };
  const before = names.filter(({ line, begin }) => begin <= (first.get(line) ?? 0n));
  const lastNames = new Map(before.map((note) => [note.line, note.name]));
  const staleNames = names.filter(
    (note) => stale(note) && (lastNames.get(note.line) !== note.name || !first.has(note.line)),
  );
  for (const { name } of index.select(stale)) await driver.remove(name);
  for (const { name } of staleNames) await driver.remove(name);
}
