/**
 * Secrets in a connection string, which helvino.yaml must not hold. By keyword, as libpq reads it:
 * https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS; a string that it would not read is looked at
 * as well as can be, for it may be a secret with a slip.
 */

/** What libpq knows; `passfile` and `sslkey` are paths. */
const secrets: ReadonlySet<string> = new Set([
  'password',
  'sslpassword',
  'scram_client_key',
  'scram_server_key',
  'oauth_client_secret',
]);

/** The keyword of the first secret in a URL or `keyword=value` string. */
export function secretIn(text: string): string | undefined {
  const url = /^[a-z]+:\/\/[^?]*\??/i.exec(text);
  // Also a password with a / in it, which would have to be written as %2F.
  if (/^[a-z]+:\/\/[^?@]*:[^?@]*@/i.test(text)) return 'password';
  const keywords = url ? queryKeywords(text.slice(url[0].length)) : pairKeywords(text);
  return keywords.find((keyword) => secrets.has(keyword));
}

function queryKeywords(query: string): string[] {
  return query.split(/[?&]/).map((pair) => normal(decode(pair.split('=')[0]!)));
}

function pairKeywords(text: string): string[] {
  const pair = /\s*([^\s=']+)\s*=\s*(?:'(?:[^'\\]|\\.)*'(?=\s|$)|(?:[^\s\\]|\\.)*)\s*/sy;
  const keywords: string[] = [];
  while (pair.lastIndex < text.length) {
    const at = pair.lastIndex;
    const match = pair.exec(text);
    // No list of pairs: every word before a = counts.
    if (!match) return [...keywords, ...looseKeywords(text.slice(at))];
    keywords.push(normal(match[1]!));
  }
  return keywords;
}

function looseKeywords(text: string): string[] {
  return [...text.matchAll(/(\w+)\s*=/g)].map((match) => normal(match[1]!));
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
