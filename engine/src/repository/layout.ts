/**
 * Names of the objects in a repository. All names are write-once.
 *
 *     helvino.json                        descriptor, plain JSON
 *     keys/catalog/<keyId>/<sealing>      a catalog key, sealed to the recipients (age)
 *     keys/data/<keyId>/<sealing>         a data key, sealed to the recipients (age)
 *     packs/<2 hex>/<packId>              chunks
 *     backups/<database>/<backupId>       manifest: its existence is the backup's existence
 *     ledger/<database>/<backupId>        says that the backup was committed: a manifest that vanishes is missed
 *     proofs/<backupId>/<drillId>         the result of a drill of this backup
 *     holds/<database>/<backupId>/<id>    this backup (`all`: every one) must not go; with `.lifted`: it may again
 *     verifications/<database>/<id>       the result of a verification
 *     runs/<database>/<runId>/<what>      a backup run: that it began, that it failed, which containers it stopped
 *     evidence/reports/<database>/<id>    the signed report of a drill: stays when the backup goes
 *     evidence/removed/<database>/<id>    a note of a backup that was removed
 *     evidence/removed-wal/<database>/<line>-<position>   retention removed the log up to there; empty
 *     evidence/keys/<keyId>               a public key of reports, plain PEM
 *     leases/<runId>/<n>                  a run is alive; the newest n counts
 *     trash/<packId>                      mark: this pack was garbage when this object was written
 */
import { createHash } from 'node:crypto';

export const descriptorName = 'helvino.json';
export const packsPrefix = 'packs/';
export const backupsPrefix = 'backups/';
export const ledgerPrefix = 'ledger/';
export const leasesPrefix = 'leases/';
export const holdsPrefix = 'holds/';
export const verificationsPrefix = 'verifications/';
export const runsPrefix = 'runs/';
export const proofsPrefix = 'proofs/';
export const evidencePrefix = 'evidence/';
export const reportsPrefix = 'evidence/reports/';
export const removedPrefix = 'evidence/removed/';
export const removedLogPrefix = 'evidence/removed-wal/';
export const evidenceKeysPrefix = 'evidence/keys/';
export const trashPrefix = 'trash/';
export const dataKeysPrefix = 'keys/data/';
export const catalogKeysPrefix = 'keys/catalog/';

export function packName(packId: string): string {
  return `${packsPrefix}${packId.slice(0, 2)}/${packId}`;
}

export function manifestName(database: string, backupId: string): string {
  return `${backupsPrefix}${database}/${backupId}`;
}

export function ledgerName(database: string, backupId: string): string {
  return `${ledgerPrefix}${database}/${backupId}`;
}

export function trashName(packId: string): string {
  return `${trashPrefix}${packId}`;
}

export function proofPrefix(backupId: string): string {
  return `${proofsPrefix}${backupId}/`;
}

/** One name per set of recipients, so that sealing twice to the same set is the same object. */
export function sealingName(prefix: string, keyId: string, recipients: readonly string[]): string {
  const set = createHash('sha256')
    .update([...recipients].sort().join('\n'))
    .digest('hex')
    .slice(0, 16);
  return `${prefix}${keyId}/${set}`;
}
