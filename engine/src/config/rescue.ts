/** The part of the configuration that `helvino rescue` reads: what no constraint of the database says. */
import * as z from 'zod';

const columns = z.array(z.string().min(1)).min(1);

const reference = z.strictObject({
  from: z.string().min(1).describe('The table that refers, as `schema.table`.'),
  columns: columns.describe(
    "Its columns; `tag_ids[]` for the elements of an array, `payload->>'conversationId'` for a value of a JSON document, `payload->'tags'[]->>'id'` for one of each element.",
  ),
  to: z.string().min(1).describe('The table that is referred to.'),
  toColumns: columns.describe('The columns that they hold values of, in the same order.'),
  when: z
    .record(z.string(), z.string().describe('The value of the column of this name, as text.'))
    .optional()
    .describe(
      'Polymorphic: it holds where columns of `from` have these values, e.g. `{ subject_type: message }`.',
    ),
});

export const rescue = z.strictObject({
  references: z
    .array(reference)
    .default([])
    .describe('References between tables that are no foreign keys: rows that refer to a row belong with it.'),
  shared: z
    .array(z.string().min(1))
    .default([])
    .describe(
      'Tables that belong to nobody: none of their rows is taken for one of the root because it refers to one.',
    ),
  tables: z
    .record(
      z.string(),
      z.array(z.enum(['insert', 'revert', 'remove'])).describe('For the table of this name.'),
    )
    .default({})
    .describe(
      'By table, what may be done with its rows, instead of what the command says; an empty list leaves the table as it is.',
    ),
});
