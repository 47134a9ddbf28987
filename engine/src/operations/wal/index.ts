/** WAL: streamed or received, stored, watched. */
export { type WalAlarm, walAlarms } from './alarms.ts';
export { archiveClient, archiveCommand, writeArchiveClient } from './archive-client.ts';
export { storedClusters } from './known-cluster.ts';
export { receiveWal } from './receive.ts';
export { rivalChoices } from './rival-timelines.ts';
export { defaultSlot, streamConnection } from './slot.ts';
export {
  knownState,
  readSourceState,
  readStoredEnds,
  type SourceState,
  storedEnds,
} from './source-state.ts';
export { type WalStatus, walStatus } from './status.ts';
export { streamWal } from './stream.ts';
