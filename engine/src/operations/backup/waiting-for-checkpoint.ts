import type { BackupOptions } from './backup.ts';

/** What a run says that it does until the server's checkpoint is made. */
export function waitingForCheckpoint(kind: BackupOptions['checkpoint']): string {
  const how = kind === 'fast' ? 'at once' : 'spread over checkpoint_completion_target';
  return `waiting for the server's checkpoint (${how})`;
}
