/** Quoting for replication commands: https://www.postgresql.org/docs/current/protocol-replication.html */

export function quoteLiteral(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

export function quoteName(text: string): string {
  return `"${text.replaceAll('"', '""')}"`;
}
