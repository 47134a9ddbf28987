/** Sizes and durations in the schema: written as people do, bytes and seconds in the program. */
import * as z from 'zod';
import { parseDuration, parseSize } from './units.ts';

function checked(parse: (text: string) => number) {
  return (text: string, context: z.core.$RefinementCtx<string>): number => {
    try {
      return parse(text);
    } catch (thrown) {
      context.addIssue((thrown as Error).message);
      return z.NEVER;
    }
  };
}

export const size = z
  .union([z.number().int().positive().transform(String), z.string()])
  .transform(checked(parseSize));
export const duration = z.string().transform(checked(parseDuration));
