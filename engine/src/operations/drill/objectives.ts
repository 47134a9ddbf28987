/** What was measured against what was promised. Pure. */
import { formatDuration } from '../../base/format.ts';
import { formatAge } from '../../catalog/index.ts';
import type { Check, Objectives } from './report.ts';

/** How much older than the wanted moment the newest thing is that was recovered. */
export interface Loss {
  /** Negative when it is newer. */
  readonly seconds: number;
  /** What that newest thing is, for people. */
  readonly by: string;
  /**
   * True when something is written all the time, or all up to that moment is known to be there: then what is older is a loss.
   * Else it may be that nothing was written.
   */
  readonly exact: boolean;
}

export interface ObjectiveInput {
  readonly objectives: Objectives | undefined;
  /** Undefined: the service did not come back. */
  readonly rtoSeconds: number | undefined;
  readonly loss: Loss | undefined;
  /** Whether an application had to answer. */
  readonly application: boolean;
}

/** `RTO` and `RPO`, where there is an objective. */
export function objectiveChecks({ objectives, rtoSeconds, loss, application }: ObjectiveInput): Check[] {
  const checks: Check[] = [];
  if (objectives?.rtoSeconds !== undefined)
    checks.push({ name: 'RTO', seconds: 0, ...rto(objectives.rtoSeconds, rtoSeconds, application) });
  if (objectives?.rpoSeconds !== undefined)
    checks.push({ name: 'RPO', seconds: 0, ...rpo(objectives.rpoSeconds, loss) });
  return checks;
}

type Outcome = Pick<Check, 'state' | 'detail'>;

function rto(objective: number, seconds: number | undefined, application: boolean): Outcome {
  const what = application ? 'the application' : 'the database';
  if (seconds === undefined)
    return { state: 'unproven', detail: `${what} did not answer, so it was not measured` };
  const [took, allowed] = apart(seconds, objective, formatDuration);
  const detail = `${took} until ${what} answered; the objective is ${allowed}`;
  return { state: seconds <= objective ? 'passed' : 'failed', detail };
}

/** As for the health of a backup: clocks of two machines are apart by less. */
const clockSlackSeconds = 600;

/** Not negative; undefined where it is not known. */
export function lossSeconds(loss: Loss | undefined): number | undefined {
  return loss === undefined || loss.seconds < -clockSlackSeconds ? undefined : Math.max(0, loss.seconds);
}

function rpo(objective: number, loss: Loss | undefined): Outcome {
  if (!loss) return { state: 'unproven', detail: 'nothing says how new what was recovered is' };
  if (lossSeconds(loss) === undefined)
    return {
      state: 'unproven',
      detail: `${loss.by} is ${formatAge(-loss.seconds)} newer than the wanted moment: a clock is wrong`,
    };
  const [old, allowed] = apart(Math.max(0, loss.seconds), objective);
  const detail = `${loss.by} is ${old} older than the wanted moment; the objective is ${allowed}`;
  if (loss.seconds <= objective) return { state: 'passed', detail };
  if (loss.exact) return { state: 'failed', detail };
  return {
    state: 'unproven',
    detail: `${detail}; it may be that nothing was written: a heartbeat would tell`,
  };
}

/** Two durations for people, to the second where they would read alike and are not. */
export function apart(
  one: number,
  other: number,
  words: (seconds: number) => string = formatAge,
): [string, string] {
  const rough: [string, string] = [words(one), words(other)];
  if (rough[0] !== rough[1] || one === other) return rough;
  const exact = (seconds: number) => `${Number(seconds.toFixed(3))} s`;
  return [exact(one), exact(other)];
}
