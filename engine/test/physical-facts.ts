/** What a manifest says of a physical backup, for tests that make manifests without a server. */
const usual = {
  method: 'physical',
  systemId: '1',
  serverVersion: 180004,
  serverVersionText: '18.4',
  server: 'here:5432',
  fromStandby: false,
  superuser: 'postgres',
  timeline: 1,
  startLsn: '0/1',
  stopLsn: '0/1',
  walSegmentSize: 16 << 20,
  dataChecksums: true,
  tablespaces: [],
  transfer: 'all',
  checksumsVerified: true,
  fingerprint: { state: 'taken', tables: 0, skipped: 0 },
  warnings: [],
};

export function physicalFactsWith<Own extends Readonly<Record<string, unknown>>>(
  own: Own,
): typeof usual & Own {
  return { ...usual, ...own };
}
