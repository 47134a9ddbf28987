/** For Prisma's own command line (`prisma generate`, `prisma migrate deploy`); the application does not need it. */
export default {
  schema: 'prisma/schema.prisma',
  migrations: { path: 'prisma/migrations' },
  datasource: { url: process.env.DATABASE_URL ?? '' },
};
