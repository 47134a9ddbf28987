/** Finding the moment: transactions by the index of the WAL, or by the WAL itself. */
export {
  type FindResult,
  type FoundTransaction,
  findTransactions,
} from './find.ts';
export { parseMoment } from './moment.ts';
