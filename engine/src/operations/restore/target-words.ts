/** Recovery targets as people write them. */
import { HelvinoError } from '../../base/errors.ts';

/**
 * Whether what is at the target is there afterwards. Undefined: as one means it: a transaction, a restore point and what was
 * committed at a time are there; of a position all WAL before it.
 */
interface Sided {
  readonly side?: 'before' | 'after' | undefined;
}

export type RecoveryTarget =
  /** The end of the backup's own WAL. */
  | { readonly kind: 'backup' }
  | { readonly kind: 'latest' }
  /** Microseconds since 1970, as PostgreSQL keeps time. */
  | ({ readonly kind: 'time'; readonly time: bigint } & Sided)
  | ({ readonly kind: 'lsn'; readonly lsn: string } & Sided)
  | ({ readonly kind: 'xid'; readonly xid: number } & Sided)
  | ({ readonly kind: 'name'; readonly name: string } & Sided);

/** How long ago, in words. */
export const ago = /^(\d+(?:\.\d+)?)\s*(s|sec|second|min|minute|h|hour|d|day)s?\s+ago$/i;
const unitSeconds: Readonly<Record<string, number>> = {
  s: 1,
  sec: 1,
  second: 1,
  min: 60,
  minute: 60,
  h: 3600,
  hour: 3600,
  d: 86400,
  day: 86400,
};

/**
 * `latest`, `backup`, a time with its zone (`2026-11-25 14:03:00+01`, `… Europe/Berlin`), `10 minutes ago`, an LSN (`0/3000148`),
 * `xid:1234`, `name:before-migration`; `before:` or `after:` may stand before each but the first two. Throws USAGE.
 */
export function parseTarget(text: string, now: Date): RecoveryTarget {
  const words = text.trim();
  if (words === 'latest' || words === 'backup') return { kind: words };
  const side = /^(before|after):/.exec(words)?.[1] as Sided['side'];
  if (side === undefined) return parsePlace(words, now);
  const place = words.slice(side.length + 1).trim();
  if (place === 'latest' || place === 'backup')
    throw new HelvinoError('USAGE', `"${words}" is not a recovery target`, { hint: `write ${place} alone` });
  return { ...parsePlace(place, now), side };
}

function parsePlace(words: string, now: Date): Exclude<RecoveryTarget, { kind: 'backup' | 'latest' }> {
  if (/^[0-9A-F]{1,8}\/[0-9A-F]{1,8}$/i.test(words)) return { kind: 'lsn', lsn: words.toUpperCase() };
  const xid = /^xid:(\d{1,10})$/.exec(words);
  if (xid) return { kind: 'xid', xid: Number(xid[1]) };
  if (words.startsWith('name:') && words.length > 5) return { kind: 'name', name: words.slice(5) };
  const back = ago.exec(words);
  if (back) {
    const seconds = Number(back[1]) * unitSeconds[back[2]!.toLowerCase()]!;
    const time = Math.round(now.getTime() - seconds * 1000);
    if (time < 0) throw new HelvinoError('USAGE', `"${words}" is before 1970`);
    return { kind: 'time', time: BigInt(time) * 1000n };
  }
  return { kind: 'time', time: parseTime(words) };
}

function parseTime(words: string): bigint {
  const match =
    /^(\d{4}-\d{2}-\d{2})[ T](\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?)\s*(Z|UTC|[+-]\d{2}(?::?\d{2})?|[a-z][\w+/-]*)?$/i.exec(
      words,
    );
  if (!match) {
    throw new HelvinoError('USAGE', `"${words}" is not a recovery target`, {
      hint: 'latest, a time with its zone (2026-11-25 14:03:00+01), "10 minutes ago", an LSN (0/3000148), xid:1234 or name:POINT; before: or after: may stand in front (before:xid:1234)',
    });
  }
  const [, date, clock, zone] = match;
  if (zone === undefined) {
    throw new HelvinoError('USAGE', `the time "${words}" has no zone`, {
      hint: `write ${words}Z for UTC, or an offset like ${words}+01:00`,
    });
  }
  const offset =
    /^[a-z]{2}/i.test(zone) && !/^utc$/i.test(zone)
      ? zoneOffset(`${date}T${clock!.slice(0, 5)}`, zone)
      : /^(z|utc)$/i.test(zone)
        ? 'Z'
        : zone.length === 3
          ? `${zone}:00`
          : zone.replace(/^([+-]\d{2})(\d{2})$/, '$1:$2');
  const [whole = '', fraction = ''] = clock!.split('.');
  const time = new Date(`${date}T${whole.length === 5 ? `${whole}:00` : whole}${offset}`);
  // 30 February would be taken for a day in March.
  const isDay = new Date(`${date}T00:00Z`).getUTCDate() === Number(date!.slice(8));
  if (Number.isNaN(time.getTime()) || !isDay) throw new HelvinoError('USAGE', `"${words}" is not a time`);
  return BigInt(time.getTime()) * 1000n + BigInt(fraction.padEnd(6, '0').slice(0, 6));
}

/**
 * The offset of a zone of the IANA database (`Europe/Berlin`) at a time of its own clocks, `YYYY-MM-DDTHH:MM`. Where clocks are
 * put back a time is there twice, where they are put forward it is not there at all: both are refused, not guessed at.
 */
function zoneOffset(local: string, zone: string): string {
  const wanted = new Date(`${local}Z`).getTime();
  if (Number.isNaN(wanted)) throw new HelvinoError('USAGE', `"${local}" is not a time`);
  const found = new Set<string>();
  // The offsets that hold a day before and a day after are all that come into question.
  const offsetOn = (away: number) => offsetAt(wanted + away * 86_400_000, zone);
  for (const away of [-1, 0, 1]) {
    const offset = offsetOn(away);
    const time = new Date(`${local}${offset}`).getTime();
    if (offsetAt(time, zone) === offset) found.add(offset);
  }
  const [only, other] = found;
  if (only !== undefined && other === undefined) return only;
  const why =
    other === undefined
      ? 'is not there: the clocks were put forward'
      : `is there twice, at ${only} and at ${other}`;
  const text = local.replace('T', ' ');
  const [early, late] = other === undefined ? [-1, 1].map(offsetOn) : [only, other];
  throw new HelvinoError('USAGE', `${text} in ${zone} ${why}`, {
    hint: `write the offset instead of the name: "${text}${early}" or "${text}${late}"`,
  });
}

/** `+02:00`. Abbreviations like CET are refused: several zones share one. */
function offsetAt(time: number, zone: string): string {
  try {
    if (!zone.includes('/')) throw new RangeError('an abbreviation');
    const format = new Intl.DateTimeFormat('en', { timeZone: zone, timeZoneName: 'longOffset' });
    const name = format.formatToParts(time).find((part) => part.type === 'timeZoneName')!.value;
    return name === 'GMT' ? '+00:00' : name.slice(3, 9);
  } catch (thrown) {
    throw new HelvinoError('USAGE', `"${zone}" is not a time zone`, {
      hint: 'write Z for UTC, an offset like +01:00, or a name like Europe/Berlin',
      cause: thrown,
    });
  }
}
