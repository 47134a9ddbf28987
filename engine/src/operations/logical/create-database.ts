/** Making the empty database that a dump is loaded into. */
import type { Client } from 'pg';
import { HelvinoError } from '../../base/errors.ts';
import { quoteIdentifier } from '../../postgres/index.ts';
import type { DumpSource } from './dump-source.ts';

export type DatabaseLocale = Pick<
  NonNullable<DumpSource['database']>,
  'encoding' | 'collate' | 'ctype' | 'localeProvider' | 'locale'
>;

/** Encoding and locale, in the words of CREATE DATABASE. */
export function localeWords(client: Client, like: DatabaseLocale): string {
  const literal = (text: string) => client.escapeLiteral(text);
  const words = `encoding ${literal(like.encoding)} lc_collate ${literal(like.collate)} lc_ctype ${literal(like.ctype)}`;
  if (like.localeProvider === 'i')
    return `${words} locale_provider icu icu_locale ${literal(like.locale ?? '')}`;
  if (like.localeProvider === 'b')
    return `${words} locale_provider builtin builtin_locale ${literal(like.locale ?? '')}`;
  return words;
}

/** Throws SERVER_ERROR. */
export async function createDatabase(client: Client, name: string, words: readonly string[]): Promise<void> {
  try {
    await client.query(`create database ${quoteIdentifier(name)} template template0 ${words.join(' ')}`);
  } catch (thrown) {
    throw new HelvinoError('SERVER_ERROR', `no database could be created: ${(thrown as Error).message}`, {
      cause: thrown,
      hint: 'where the server lacks the locale of the dump, install it there',
    });
  }
}
