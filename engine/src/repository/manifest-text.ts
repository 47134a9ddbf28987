/**
 * The JSON of a manifest, read in parts: what it names may be much (a terabyte in packs is some ten megabytes of text), so
 * that the list of packs is taken out and read some at a time. Throws SyntaxError.
 */
const [quote, backslash, comma, colon] = [0x22, 0x5c, 0x2c, 0x3a];
const [openBracket, closeBracket, openBrace, closeBrace] = [0x5b, 0x5d, 0x7b, 0x7d];
const spaces: ReadonlySet<number> = new Set([0x20, 0x09, 0x0a, 0x0d]);
const atOnce = 256;

export interface ManifestText {
  /** All of it, the list of packs left empty. */
  readonly rest: unknown;
  /** Each once, as the text has them. */
  packs(): Generator<unknown, void, void>;
}

export function readManifestText(text: Buffer): ManifestText {
  const list = findPacks(text);
  // Of another format, perhaps.
  if (list === undefined) return { rest: JSON.parse(text.toString('utf8')), *packs() {} };
  const head = text.toString('utf8', 0, list.from);
  return {
    rest: JSON.parse(`${head}[]${text.toString('utf8', list.to)}`),
    *packs() {
      let from = list.from + 1;
      let count = 0;
      for (let at = from; ; ) {
        at = skipSpaces(text, at);
        const end = text[at] === closeBracket;
        if (end || (text[at] === comma && ++count % atOnce === 0)) {
          yield* JSON.parse(`[${text.toString('utf8', from, at)}]`) as unknown[];
          if (end) return;
          from = at + 1;
        }
        at = end || text[at] === comma ? at + 1 : endOfValue(text, at);
      }
    },
  };
}

/** Where the value of "packs" begins and ends. */
function findPacks(text: Buffer): { from: number; to: number } | undefined {
  let at = skipSpaces(text, 0);
  if (text[at] !== openBrace) return undefined;
  for (at = skipSpaces(text, at + 1); text[at] === quote; ) {
    const key = endOfString(text, at);
    const name = text.toString('utf8', at + 1, key - 1);
    at = skipSpaces(text, key);
    if (text[at] !== colon) break;
    const from = skipSpaces(text, at + 1);
    const to = endOfValue(text, from);
    if (name === 'packs' && text[from] === openBracket) return { from, to };
    at = skipSpaces(text, to);
    if (text[at] === comma) at = skipSpaces(text, at + 1);
  }
  return undefined;
}

function skipSpaces(text: Buffer, at: number): number {
  let next = at;
  while (spaces.has(text[next]!)) next++;
  return next;
}

/** After the value that begins at `at`: only as far as brackets and quotes say. */
function endOfValue(text: Buffer, at: number): number {
  let depth = 0;
  for (let next = at; next < text.length; ) {
    const byte = text[next]!;
    if (depth === 0 && next > at && (byte === comma || byte === closeBrace || byte === closeBracket))
      return next;
    if (byte === openBrace || byte === openBracket) depth++;
    if (byte === closeBrace || byte === closeBracket) depth--;
    next = byte === quote ? endOfString(text, next) : next + 1;
    if (depth === 0 && (byte === quote || byte === closeBrace || byte === closeBracket)) return next;
  }
  throw new SyntaxError('it is cut');
}

/** After the closing quote. */
function endOfString(text: Buffer, at: number): number {
  for (let next = at + 1; next < text.length; next++) {
    if (text[next] === backslash) next++;
    else if (text[next] === quote) return next + 1;
  }
  throw new SyntaxError('it is cut');
}
