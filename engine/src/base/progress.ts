/**
 * What long work tells whoever watches. Operations report through this interface and know nothing of terminals;
 * `cli/output/progress-display.ts` draws it.
 */
export interface Progress {
  /** A new phase begins; its total may be unknown. `unit` is what `advance` counts. */
  phase(name: string, total?: number, unit?: 'bytes' | 'items'): void;
  advance(count: number): void;
  /** A better estimate of the current phase's total. */
  total(total: number): void;
  /** A line worth keeping: a warning, or a fact. */
  note(level: 'info' | 'warn', message: string): void;
}

export const silentProgress: Progress = { phase() {}, advance() {}, total() {}, note() {} };
