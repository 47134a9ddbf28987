/**
 * How long a real disaster would take, from what drills have measured. Pure. A recovery is a fixed part (preparing, starting),
 * a part by the size of the data, and a part by the WAL that is replayed; each is taken from the drills by a median, so that
 * one odd drill does not turn it.
 */
import { formatBytes } from '../../../base/format.ts';
import { type DrillReport, recoveryTime } from '../report.ts';

/** What one drill says about speed. */
export interface DrillMeasure {
  readonly id: string;
  /** From the start until the database (and the application) answered. */
  readonly seconds: number;
  /** Bytes of the restored cluster. */
  readonly bytes: number;
  readonly restoreSeconds: number;
  /** Start of the server and replay of WAL. */
  readonly recoverSeconds: number;
  /** Bytes of WAL that were replayed, where the drill has counted them. */
  readonly walBytes: number | undefined;
}

export interface PredictionInput {
  /** Bytes of the data that would be restored. */
  readonly bytes: number;
  /** Bytes of WAL that would be replayed; as in the drills, if not given. */
  readonly walBytes?: number;
  /** Bytes a second between the repository and the new host, with how much would be read over it. */
  readonly bandwidth?: { readonly bytesPerSecond: number; readonly stored: number };
}

export interface Prediction {
  readonly rtoSeconds: number;
  /** In words: what it rests on. */
  readonly basis: string;
  /** How many drills it rests on. */
  readonly drills: number;
  readonly parts: { readonly fixed: number; readonly restore: number; readonly recover: number };
  /** Of the restore. */
  readonly bytesPerSecond: number;
  /** How far earlier predictions were off, at most; unknown with fewer than two drills. */
  readonly errorPercent?: number;
  /** As many times less or more as the worst earlier prediction was off, and no less than by a tenth. */
  readonly rangeSeconds?: readonly [number, number];
}

/** Older drills say little about today's hardware and settings. */
const newest = 10;
/** Below this, sizes are too alike to tell what is fixed from what grows. */
const spread = 1.5;

/** Undefined when the drill did not come so far that the database answered. */
export function measureOf(report: DrillReport): DrillMeasure | undefined {
  const seconds = recoveryTime(report);
  if (seconds === undefined || seconds <= 0 || report.bytes <= 0) return undefined;
  const phase = (name: string) => report.phases?.find((one) => one.name === name);
  const check = (name: string) => report.checks.find((one) => one.name === name)?.seconds;
  const restoreSeconds = phase('restore')?.seconds ?? check('restore') ?? seconds;
  const recoverSeconds = phase('recover')?.seconds ?? check('start') ?? 0;
  return {
    id: report.id,
    seconds,
    bytes: report.bytes,
    restoreSeconds: Math.min(restoreSeconds, seconds),
    recoverSeconds: Math.min(recoverSeconds, Math.max(0, seconds - restoreSeconds)),
    walBytes: report.measured?.walBytes,
  };
}

/** `drills` of one kind of backup, oldest first. Undefined without any. */
export function predictRecovery(
  drills: readonly DrillMeasure[],
  input: PredictionInput,
): Prediction | undefined {
  const point = estimate(drills.slice(-newest), input);
  if (!point) return undefined;
  const errors = backtest(drills).slice(-newest);
  const basis = basisOf(drills.slice(-newest), { input, ...point });
  const prediction = { ...point, basis, drills: Math.min(drills.length, newest) };
  if (errors.length === 0) return prediction;
  const off = Math.max(...errors.map(Math.abs));
  // What was predicted at a tenth took ten times as long, though it was off by 90 % only.
  const factor = Math.max(1.1, ...errors.map((error) => Math.max(1 + error, 1 / (1 + error))));
  return {
    ...prediction,
    errorPercent: Math.round(off * 100),
    rangeSeconds: [point.rtoSeconds / factor, point.rtoSeconds * factor],
  };
}

/** How much longer than measured a prediction was; negative: it took longer than predicted. */
export function predictionError(predictedSeconds: number, measuredSeconds: number): number {
  return (predictedSeconds - measuredSeconds) / measuredSeconds;
}

/** The error of the prediction for each drill from those before it; from the second on. */
function backtest(drills: readonly DrillMeasure[]): number[] {
  const errors: number[] = [];
  for (let i = 1; i < drills.length; i++) {
    const { bytes, walBytes, seconds } = drills[i]!;
    const made = estimate(drills.slice(Math.max(0, i - newest), i), { bytes, walBytes });
    if (made) errors.push(predictionError(made.rtoSeconds, seconds));
  }
  return errors;
}

type Estimate = Pick<Prediction, 'rtoSeconds' | 'parts' | 'bytesPerSecond'>;

function estimate(
  drills: readonly DrillMeasure[],
  { bytes, walBytes, bandwidth }: PredictionInput,
): Estimate | undefined {
  if (drills.length === 0) return undefined;
  const fixed = median(
    drills.map((one) => Math.max(0, one.seconds - one.restoreSeconds - one.recoverSeconds)),
  );
  const byDisk = line(
    drills.map((one) => [one.bytes, one.restoreSeconds]),
    bytes,
  );
  const byNetwork = bandwidth ? bandwidth.stored / bandwidth.bytesPerSecond : 0;
  const restore = Math.max(byDisk, byNetwork);
  const replayed = drills.flatMap((one): [number, number][] =>
    one.walBytes === undefined ? [] : [[one.walBytes, one.recoverSeconds]],
  );
  const recover =
    walBytes !== undefined && replayed.length > 0
      ? line(replayed, walBytes)
      : median(drills.map((one) => one.recoverSeconds));
  return {
    rtoSeconds: fixed + restore + recover,
    parts: { fixed, restore, recover },
    bytesPerSecond: bytes / Math.max(restore, 1e-3),
  };
}

/**
 * Seconds for `wanted` bytes. Where the drills had different sizes: a fixed part and a speed (Theil and Sen's median of
 * slopes); else, and where the sizes explain nothing, in proportion, and no less than what was measured for less.
 * https://en.wikipedia.org/wiki/Theil%E2%80%93Sen_estimator
 */
function line(points: readonly (readonly [number, number])[], wanted: number): number {
  const sizes = points.map(([size]) => size);
  const usual = median(points.map(([, seconds]) => seconds));
  if (Math.max(...sizes) >= spread * Math.max(1, Math.min(...sizes))) {
    const slope = median(slopes(points));
    const fixed = median(points.map(([size, seconds]) => seconds - slope * size));
    if (slope > 0 && fixed >= 0) return fixed + slope * wanted;
  }
  const size = median(sizes);
  if (size <= 0) return usual;
  // A start of the server without WAL takes its time, too: less data does not make it much faster.
  return wanted >= size ? usual * (wanted / size) : Math.max(usual / 2, usual * (wanted / size));
}

function slopes(points: readonly (readonly [number, number])[]): number[] {
  const found: number[] = [];
  for (const [i, [size, seconds]] of points.entries())
    for (const [otherSize, otherSeconds] of points.slice(i + 1))
      if (Math.max(size, otherSize) > 1.2 * Math.min(size, otherSize))
        found.push((otherSeconds - seconds) / (otherSize - size));
  return found;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return (sorted[Math.floor((sorted.length - 1) / 2)]! + sorted[Math.ceil((sorted.length - 1) / 2)]!) / 2;
}

function basisOf(
  drills: readonly DrillMeasure[],
  { input, bytesPerSecond, parts }: { input: PredictionInput } & Estimate,
): string {
  const sizes = drills.map(({ bytes }) => bytes);
  const [least, most] = [Math.min(...sizes), Math.max(...sizes)];
  const range = least * 1.1 > most ? formatBytes(most) : `${formatBytes(least)} to ${formatBytes(most)}`;
  const network =
    input.bandwidth && parts.restore <= input.bandwidth.stored / input.bandwidth.bytesPerSecond
      ? `, by a network of ${formatBytes(input.bandwidth.bytesPerSecond)}/s`
      : '';
  const far = input.bytes > most * 2 ? `; ${formatBytes(input.bytes)} is far beyond what was drilled` : '';
  const count = drills.length === 1 ? 'one drill' : `${drills.length} drills`;
  return `${count} of ${range}: restoring at ${formatBytes(bytesPerSecond)}/s${network}${far}`;
}
