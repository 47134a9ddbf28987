/**
 * The one progress display. On a terminal one line is redrawn: phase, bar, done of total, rate, time left. Elsewhere plain
 * lines: one when a phase begins, then one about every five seconds.
 */
import type { Clock } from '../../base/clock.ts';
import { formatBytes, formatDuration } from '../../base/format.ts';
import type { Progress } from '../../base/progress.ts';

export interface TextStream {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

const barWidth = 24;
const redrawEveryMs = 100;
const lineEveryMs = 5000;
/** The shown rate follows the true one within about this time: steady to read, and honest after a stall. */
const rateOverMs = 5000;
const rateEveryMs = 250;

export class ProgressDisplay implements Progress {
  readonly #stream: TextStream;
  readonly #clock: Clock;
  #name = '';
  #total: number | undefined;
  #unit: 'bytes' | 'items' | undefined;
  #done = 0;
  #begun = 0;
  #drawn = 0;
  #onLine = false;
  /** Units a millisecond, weighted to the recent; undefined until there is something to go by. */
  #rate: number | undefined;
  #rated = { at: 0, done: 0 };

  constructor(stream: TextStream, clock: Clock) {
    this.#stream = stream;
    this.#clock = clock;
  }

  phase(name: string, total?: number, unit?: 'bytes' | 'items'): void {
    this.#name = name;
    this.#total = total;
    this.#unit = unit;
    this.#done = 0;
    this.#begun = this.#clock.monotonic();
    this.#drawn = this.#begun;
    this.#rate = undefined;
    this.#rated = { at: this.#begun, done: 0 };
    if (this.#stream.isTTY) this.#draw();
    else this.#stream.write(`${name}${total !== undefined ? ` (${this.#amount(total)})` : ''}\n`);
  }

  advance(count: number): void {
    this.#done += count;
    const now = this.#clock.monotonic();
    this.#measure(now);
    if (now - this.#drawn < (this.#stream.isTTY ? redrawEveryMs : lineEveryMs)) return;
    this.#drawn = now;
    if (this.#stream.isTTY) this.#draw();
    else this.#stream.write(`  ${this.#line(now)}\n`);
  }

  total(total: number): void {
    this.#total = total;
  }

  note(level: 'info' | 'warn', message: string): void {
    this.clear();
    this.#stream.write(`${level === 'warn' ? 'warning: ' : ''}${message}\n`);
    if (this.#stream.isTTY) this.#draw();
  }

  /** Takes the redrawn line away; for before other output. */
  clear(): void {
    if (!this.#onLine) return;
    this.#stream.write('\r\u001b[K');
    this.#onLine = false;
  }

  #measure(now: number): void {
    const elapsed = now - this.#rated.at;
    if (elapsed < rateEveryMs) return;
    const latest = (this.#done - this.#rated.done) / elapsed;
    const weight = 1 - Math.exp(-elapsed / rateOverMs);
    this.#rate = this.#rate === undefined ? latest : this.#rate + (latest - this.#rate) * weight;
    this.#rated = { at: now, done: this.#done };
  }

  #draw(): void {
    const columns = this.#stream.columns ?? 80;
    const text = `${this.#name}  ${this.#line(this.#clock.monotonic())}`.trimEnd();
    this.#stream.write(`\r\u001b[K${text.slice(0, columns - 1)}`);
    this.#onLine = true;
  }

  /** `[=====     ]  42 %  1.2 of 2.9 GiB  310 MiB/s  6 s left`, as far as it is known. */
  #line(now: number): string {
    if (this.#unit === undefined) return '';
    const rate = now - this.#begun > 500 && this.#rate !== undefined ? this.#rate * 1000 : undefined;
    const parts: string[] = [];
    if (this.#total) {
      const share = Math.min(1, this.#done / this.#total);
      if (this.#stream.isTTY) parts.push(`[${'='.repeat(Math.round(share * barWidth)).padEnd(barWidth)}]`);
      parts.push(
        `${Math.floor(share * 100)} %`,
        `${this.#amount(this.#done)} of ${this.#amount(this.#total)}`,
      );
    } else parts.push(this.#amount(this.#done));
    if (rate !== undefined) parts.push(`${this.#amount(rate)}/s`);
    if (this.#total && rate && this.#done < this.#total)
      parts.push(`${formatDuration((this.#total - this.#done) / rate)} left`);
    return parts.join('  ');
  }

  #amount(count: number): string {
    return this.#unit === 'bytes' ? formatBytes(count) : String(Math.round(count));
  }
}
