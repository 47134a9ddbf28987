/** Sizes and durations as people write them. */
import { HelvinoError } from '../base/errors.ts';

const sizes: Readonly<Record<string, number>> = {
  b: 1,
  k: 1024,
  kb: 1000,
  kib: 1024,
  m: 1024 ** 2,
  mb: 1000 ** 2,
  mib: 1024 ** 2,
  g: 1024 ** 3,
  gb: 1000 ** 3,
  gib: 1024 ** 3,
  t: 1024 ** 4,
  tb: 1000 ** 4,
  tib: 1024 ** 4,
};

/** `50 MiB`, `1.5GiB`, `4096`, `100 MiB/s` → bytes. Throws USAGE; in the schema it is CONFIG_INVALID. */
export function parseSize(text: string): number {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*(?:\/\s*s)?\s*$/i.exec(text);
  const factor = match?.[2] ? sizes[match[2].toLowerCase()] : 1;
  if (!match || factor === undefined) {
    throw new HelvinoError('USAGE', `"${text}" is not a size`, {
      hint: 'write a number and a unit: 50 MiB, 1.5 GiB, 200 MB',
    });
  }
  return Math.round(Number(match[1]) * factor);
}

const durations: Readonly<Record<string, number>> = {
  ms: 0.001,
  s: 1,
  m: 60,
  min: 60,
  h: 3600,
  d: 86400,
  w: 604800,
};

/** `15m`, `24 h`, `7d` → seconds. Throws USAGE; in the schema it is CONFIG_INVALID. */
export function parseDuration(text: string): number {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*$/i.exec(text);
  const factor = match?.[2] ? durations[match[2].toLowerCase()] : undefined;
  if (!match || factor === undefined) {
    throw new HelvinoError('USAGE', `"${text}" is not a duration`, {
      hint: 'write a number and a unit: 30s, 15m, 24h, 7d',
    });
  }
  return Number(match[1]) * factor;
}
