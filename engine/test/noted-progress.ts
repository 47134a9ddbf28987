import { type Progress, silentProgress } from '../src/base/progress.ts';

/** A progress display that keeps what is noted. */
export function notedProgress(): { readonly progress: Progress; readonly notes: readonly string[] } {
  const notes: string[] = [];
  return { progress: { ...silentProgress, note: (_level, message) => void notes.push(message) }, notes };
}
