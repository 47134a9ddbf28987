/** For whom commits wait: https://www.postgresql.org/docs/current/runtime-config-replication.html#GUC-SYNCHRONOUS-STANDBY-NAMES */

/** `FIRST 1 (a, "b c")` → a, b c; in lower case, as the server compares them. */
export function standbyNames(setting: string): Set<string> {
  const names = new Set<string>();
  const list = /\((.*)\)/s.exec(setting)?.[1] ?? setting;
  for (const [, quoted, plain] of list.matchAll(/"((?:[^"]|"")*)"|([^\s,"()]+)/g))
    names.add((quoted?.replaceAll('""', '"') ?? plain!).toLowerCase());
  return names;
}

/** Whether commits may wait for a stream of this name. */
export function isSynchronous(setting: string, streamName: string): boolean {
  const names = standbyNames(setting);
  return names.has('*') || names.has(streamName.toLowerCase());
}
