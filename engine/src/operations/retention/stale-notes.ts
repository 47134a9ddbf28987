/** Notes about WAL that is no longer stored (see repository/log-notes.ts): they are of no use without it. */
import { LogIndex, type LogNote, listLog, listLogNotes, type Repository } from '../../repository/index.ts';

/** Removes them; what a stopped run left, too. Of each of the server's databases the last names before the first WAL stay. */
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
  const isBefore = ({ line, begin }: LogNote) => begin <= (first.get(line) ?? 0n);
  // Of names `end` is no position, but the database that they are of.
  const lastNames = new Map(names.filter(isBefore).map((note) => [`${note.line} ${note.end}`, note.name]));
  const isStaleName = (note: LogNote) =>
    first.has(note.line)
      ? isBefore(note) && lastNames.get(`${note.line} ${note.end}`) !== note.name
      : stale(note);
  const staleNames = names.filter(isStaleName);
  for (const { name } of index.select(stale)) await driver.remove(name);
  for (const { name } of staleNames) await driver.remove(name);
}
