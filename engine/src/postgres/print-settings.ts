/**
 * What changes how a server prints a value: set so, two servers print alike, and what was printed is read alike.
 * https://www.postgresql.org/docs/current/runtime-config-client.html
 */
export const printSettings: Readonly<Record<string, string>> = {
  datestyle: 'ISO, YMD',
  intervalstyle: 'postgres',
  timezone: 'UTC',
  extra_float_digits: '1',
  bytea_output: 'hex',
  lc_monetary: 'C',
  xmlbinary: 'base64',
  xmloption: 'content',
  search_path: 'pg_catalog',
};
