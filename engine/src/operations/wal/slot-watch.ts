/**
 * Looks after a stream from the server's side, while it runs: is the slot safe, and how far is what is stored behind. It
 * warns when something becomes bad, and says when it is good again. It never ends the stream.
 */
import type { Client } from 'pg';
import type { Clock } from '../../base/clock.ts';
import { formatBytes, formatDuration } from '../../base/format.ts';
import type { Progress } from '../../base/progress.ts';
import { type ConnectionParams, connectSql } from '../../postgres/index.ts';
import { readSlots, type SlotState, serverEndSql, serverTimelineSql } from './slot.ts';

export interface WatchLimits {
  /** How often it looks, in milliseconds. */
  readonly everyMs: number;
  /** Seconds that what is stored may be behind the server. */
  readonly maxLag: number;
  /** Bytes that must still fit before the slot may be lost. */
  readonly minRoom: number;
}

export interface SlotWatchOptions {
  readonly connection: ConnectionParams;
  readonly slot: string;
  readonly clock: Clock;
  readonly progress: Progress;
  /** Told at each look that finds the slot lost, or gone. */
  readonly onLost?: () => void;
}

/** Something that is bad now. `key` tells it from others while its numbers change. */
export interface SlotProblem {
  readonly key: 'slot' | 'room' | 'lag';
  readonly message: string;
}

/** `state`: undefined when there is no such slot. */
export function slotProblems(
  name: string,
  state: SlotState | undefined,
  { minRoom }: Pick<WatchLimits, 'minRoom'>,
): SlotProblem[] {
  if (state === undefined) return [{ key: 'slot', message: `the replication slot ${name} is not there` }];
  if (state.wal === 'lost')
    return [{ key: 'slot', message: `the replication slot ${name} has lost WAL that was not stored` }];
  if (state.wal === 'unreserved')
    return [
      {
        key: 'slot',
        message: `the server may remove WAL that is not stored yet at its next checkpoint: the slot ${name} keeps ${formatBytes(state.kept)}, more than max_slot_wal_keep_size`,
      },
    ];
  if (state.room === undefined || state.room >= minRoom) return [];
  return [
    {
      key: 'room',
      message: `the replication slot ${name} may be lost after ${formatBytes(Math.max(0, state.room))} more WAL (max_slot_wal_keep_size)`,
    },
  ];
}

/** A look takes no longer than the time of so many. */
const looksPatience = 3;

export class SlotWatch {
  readonly #options: SlotWatchOptions;
  readonly #limits: WatchLimits;
  readonly #stop = new AbortController();
  readonly #done: Promise<void>;
  readonly #bad = new Set<SlotProblem['key']>();
  /** Where the server was when, as long as that is not stored. */
  #ahead: { readonly at: number; readonly timeline: number; readonly end: bigint }[] = [];
  #stored = { timeline: 0, position: 0n };
  #client: Client | undefined;

  constructor(options: SlotWatchOptions, limits: WatchLimits) {
    this.#options = options;
    this.#limits = limits;
    this.#done = this.#run();
  }

  /** All before this position of a timeline is stored. */
  stored(timeline: number, position: bigint): void {
    this.#stored = { timeline, position };
    this.#ahead = this.#ahead.filter((mark) => mark.timeline > timeline || mark.end > position);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    // A server that does not answer must not hold up the end.
    const end = this.#done.then(() => this.#client?.end()).catch(() => undefined);
    await Promise.race([end, this.#options.clock.sleep(2000)]);
  }

  async #run(): Promise<void> {
    const { clock } = this.#options;
    while (!this.#stop.signal.aborted) {
      await clock.sleep(this.#limits.everyMs, this.#stop.signal).catch(() => undefined);
      if (!this.#stop.signal.aborted) await this.#look();
    }
  }

  async #look(): Promise<void> {
    const { connection, slot } = this.#options;
    try {
      const client = this.#client ?? (await connectSql(connection, { signal: this.#stop.signal }));
      // A connection that breaks between two looks is made again.
      if (!this.#client) client.on('error', () => undefined);
      this.#client = client;
      const { state, ...place } = await this.#ask(client, slot);
      this.#judge(place, state);
      if (state === undefined || state.wal === 'lost') this.#lost();
    } catch {
      // The stream itself tells of a server that is away.
      this.#drop();
    }
  }

  /** Without a word: to a host that is gone it would be waited for long. */
  #drop(): void {
    this.#client?.connection.stream.destroy();
    this.#client = undefined;
  }

  /** A host that is gone closes nothing: its connection is cut, or no look would ever follow. */
  async #ask(
    client: Client,
    slot: string,
  ): Promise<{ timeline: number; end: bigint; state: SlotState | undefined }> {
    const answered = new AbortController();
    const cut = () => client.connection.stream.destroy();
    void this.#options.clock
      .sleep(looksPatience * this.#limits.everyMs, answered.signal)
      .then(cut, () => undefined);
    this.#stop.signal.addEventListener('abort', cut, { once: true });
    try {
      const { rows } = await client.query<{ lsn: string; timeline: number; standby: boolean }>(
        `select ${serverEndSql}::text as lsn, ${serverTimelineSql} as timeline, pg_is_in_recovery() as standby`,
      );
      const [state] = await readSlots(client, slot);
      const { lsn, timeline, standby } = rows[0]!;
      // A standby may not say that it follows a newer one already.
      const stored = this.#stored.timeline;
      return { timeline: standby && timeline < stored ? stored : timeline, end: BigInt(lsn), state };
    } finally {
      answered.abort();
      this.#stop.signal.removeEventListener('abort', cut);
    }
  }

  /** The next look is through a new connection: this one may be to a server that the stream has left. */
  #lost(): void {
    this.#options.onLost?.();
    this.#drop();
  }

  #judge({ timeline, end }: { timeline: number; end: bigint }, state: SlotState | undefined): void {
    const { slot, clock } = this.#options;
    const now = clock.monotonic();
    // A server that begins anew, at an earlier position, is not behind its former self.
    this.#ahead = this.#ahead.filter((mark) => mark.end <= end);
    // Positions of different timelines are not compared.
    const isOther = this.#stored.timeline > 0 && this.#stored.timeline !== timeline;
    if (isOther || end > this.#stored.position) this.#ahead.push({ at: now, timeline, end });
    const seconds = this.#ahead[0] ? (now - this.#ahead[0].at) / 1000 : 0;
    const problems = slotProblems(slot, state, this.#limits);
    if (seconds > this.#limits.maxLag)
      problems.push({
        key: 'lag',
        message: isOther
          ? `the server is on timeline ${timeline}, and nothing of that was stored for ${formatDuration(seconds)}`
          : `what is stored is ${formatDuration(seconds)} and ${formatBytes(Number(end - this.#stored.position))} behind the server`,
      });
    this.#tell(problems);
  }

  #tell(problems: readonly SlotProblem[]): void {
    const { progress } = this.#options;
    for (const { key, message } of problems) {
      if (!this.#bad.has(key)) progress.note('warn', message);
      this.#bad.add(key);
    }
    for (const key of this.#bad) {
      if (problems.some((problem) => problem.key === key)) continue;
      this.#bad.delete(key);
      progress.note('info', goodAgain[key]);
    }
  }
}

const goodAgain: Readonly<Record<SlotProblem['key'], string>> = {
  slot: 'the replication slot is safe again',
  room: 'the replication slot has room again',
  lag: 'what is stored has caught up with the server',
};
