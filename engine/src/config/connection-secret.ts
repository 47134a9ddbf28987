/**
 * Secrets in a connection string, which helvino.yaml must not hold. By keyword, as libpq reads it:
 * https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS; a string that it would not read is looked at
 * as well as can be, for it may be a secret with a slip. A password is refused wherever it comes up; another secret, which files that
 * are in use may have, only where a new one would be written.
 */

/** What libpq knows; `passfile` and `sslkey` are paths. */
const secrets: ReadonlySet<string> = new Set([
  'password',
  'sslpassword',
  'scram_client_key',
  'scram_server_key',
  'oauth_client_secret',
]);

interface Keyword {
  readonly keyword: string;
  /** Where it ends in the text. */
  readonly end: number;
}

/** The keyword of the first secret in a URL or `keyword=value` string; `password` before another. */
export function secretIn(text: string): string | undefined {
  const found = secretsIn(text).map(({ keyword }) => keyword);
  return holdsPassword(text) ? 'password' : found[0];
}

/** Also one with a / in it, which would have to be written as %2F, and one that follows a URL as if it were a list of pairs. */
export function holdsPassword(text: string): boolean {
  if (/^[a-z]+:\/\/(?:[^?@]*:[^?@]*@|.*[\s?&]password\s*=)/is.test(text)) return true;
  return secretsIn(text).some(({ keyword }) => keyword === 'password');
}

/** For people: without the secrets and all that follows the first, which may be a part of it. Of a string without a password. */
export function withoutSecrets(text: string): string {
  const [first] = secretsIn(text);
  return first === undefined ? text : `${text.slice(0, first.end)}=***`;
}

function secretsIn(text: string): Keyword[] {
  const url = /^[a-z]+:\/\/[^?]*\??/i.exec(text);
  const keywords = url ? queryKeywords(text, url[0].length) : pairKeywords(text);
  return keywords.filter(({ keyword }) => secrets.has(keyword));
}

function queryKeywords(text: string, begin: number): Keyword[] {
  const keywords: Keyword[] = [];
  for (const { 0: word, index } of text.slice(begin).matchAll(/(?<=^|[?&])[^?&=]*/g))
    keywords.push({ keyword: normal(decode(word)), end: begin + index + word.length });
  return keywords;
}

function pairKeywords(text: string): Keyword[] {
  const pair = /\s*([^\s=']+)\s*=\s*(?:'(?:[^'\\]|\\.)*'(?=\s|$)|(?:[^\s\\]|\\.)*)\s*/dsy;
  const keywords: Keyword[] = [];
  while (pair.lastIndex < text.length) {
    const at = pair.lastIndex;
    const match = pair.exec(text);
    // No list of pairs: every word before a = counts.
    if (!match) return [...keywords, ...looseKeywords(text, at)];
    keywords.push({ keyword: normal(match[1]!), end: match.indices![1]![1] });
  }
  return keywords;
}

function looseKeywords(text: string, begin: number): Keyword[] {
  return [...text.slice(begin).matchAll(/(\w+)\s*=/g)].map(({ 1: word, index }) => ({
    keyword: normal(word!),
    end: begin + index + word!.length,
  }));
}

function normal(keyword: string): string {
  return keyword.trim().toLowerCase();
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
