// Two subgraphs (graphql-js with @apollo/subgraph) behind HTTP, and the supergraph that Apollo's composition makes of them.
import http from 'node:http';
import { fileURLToPath } from 'node:url';
import { composeServices } from '@apollo/composition';
import { buildSubgraphSchema } from '@apollo/subgraph';
import { parse } from 'graphql';
import { createHandler } from 'graphql-http/lib/use/http';
import { createHandler as createStreamHandler } from 'graphql-sse/lib/use/http';

const LINK = `extend schema @link(url: "https://specs.apollo.dev/federation/v2.3",
  import: ["@key", "@shareable", "@external", "@requires", "@provides", "@inaccessible", "@interfaceObject"])`;

const products = parse(`${LINK}
  type Query {
    products: [Product!]!
    product(upc: ID!): Product
    search(text: String): [Found!]!
    media: [Media!]!
    strict: Strict!
    lax: [Strict]
    whoami: String
    find(by: By!): [Product!]!
  }
  type Mutation { rename(upc: ID!, name: String!): Product  refuse: Product }
  type Subscription { ticks(to: Int!): Int  renamed(upcs: [ID!]!): Product }
  input By { upcs: [ID!], kind: Kind = FURNITURE }
  type Product @key(fields: "upc") { upc: ID! name: String! @shareable weight: Int size: Size @shareable kind: Kind }
  type Size @shareable { w: Int! h: Int! }
  enum Kind { FURNITURE SECRET @inaccessible }
  type Shop { name: String! }
  union Found = Product | Shop
  interface Media @key(fields: "id") { id: ID! title: String! }
  type Book implements Media @key(fields: "id") { id: ID! title: String! pages: Int }
  type Film implements Media @key(fields: "id") { id: ID! title: String! minutes: Int }
  type Strict @key(fields: "id") { id: ID! }
`);

const reviews = parse(`${LINK}
  type Query { top(limit: Int = 1): [Review!]! }
  type Mutation { review(upc: ID!, stars: Int!): Review }
  type Review @key(fields: "id") { id: ID! stars: Int! product: Product! @provides(fields: "name") }
  type Product @key(fields: "upc") {
    upc: ID!
    name: String! @external
    weight: Int @external
    size: Size @shareable
    reviews(atLeast: Int = 0): [Review!]!
    heavy: Boolean @requires(fields: "weight")
    broken: String
  }
  type Size @shareable { w: Int! h: Int! }
  type Media @key(fields: "id") @interfaceObject { id: ID! rating: Float }
  type Strict @key(fields: "id") { id: ID! must: String! }
`);

const NAMES = { 1: 'table', 2: 'chair' };
const product = (upc) => NAMES[upc]
  && { __typename: 'Product', upc, name: NAMES[upc], weight: upc * 60, size: { w: Number(upc), h: 2 }, kind: upc === '2' ? 'SECRET' : 'FURNITURE' };
const review = (id) => ({ id: `${id}`, stars: id % 5, product: { upc: `${1 + (id % 2)}`, name: NAMES[1 + (id % 2)] } });
const media = [{ __typename: 'Book', id: 'b', title: 'Emma', pages: 400 }, { __typename: 'Film', id: 'f', title: 'Ran', minutes: 160 }];

const resolvers = {
  products: {
    Query: {
      products: () => ['1', '2'].map(product),
      product: (_, { upc }) => product(upc),
      search: () => [product('2'), { __typename: 'Shop', name: 'corner' }],
      media: () => media,
      strict: () => ({ id: 'x' }),
      lax: () => [{ id: 'x' }, null],
      whoami: (_, __, { headers }) => [headers.authorization, headers['x-trace']].join(' '),
      find: (_, { by }) => (by.upcs ?? []).map(product),
    },
    Mutation: {
      rename: (_, { upc, name }) => ({ ...product(upc), name }),
      refuse: () => { throw Object.assign(new Error('not today'), { extensions: { code: 'CLOSED' } }); },
    },
    Subscription: {
      ticks: {
        async *subscribe(_, { to }) { for (let ticks = 1; ticks <= to; ticks++) yield { ticks }; },
      },
      renamed: {
        async *subscribe(_, { upcs }) { yield* upcs; },
        resolve: (upc) => product(upc) ?? Promise.reject(new Error(`there is no ${upc}`)),
      },
    },
    Product: { __resolveReference: ({ upc }) => product(upc) },
    Book: { __resolveReference: ({ id }) => media.find((m) => m.id === id) },
    Film: { __resolveReference: ({ id }) => media.find((m) => m.id === id) },
    Media: { __resolveReference: ({ id }) => media.find((m) => m.id === id) },
    Strict: { __resolveReference: ({ id }) => ({ id }) },
  },
  reviews: {
    Query: { top: (_, { limit }) => Array.from({ length: limit }, (_, n) => review(n + 1)) },
    Mutation: { review: (_, { upc, stars }) => ({ id: '9', stars, product: { upc, name: NAMES[upc] } }) },
    Review: { __resolveReference: ({ id }) => review(Number(id)) },
    Product: {
      __resolveReference: (given) => given,
      size: ({ upc }) => ({ w: Number(upc), h: 2 }),
      reviews: ({ upc }, { atLeast }) => [1, 2, 3].map(review).filter((r) => r.product.upc === upc && r.stars >= atLeast),
      heavy: ({ weight }) => weight > 100,
      broken: ({ upc }) => { throw new Error(`broken ${upc}`); },
    },
    Media: { __resolveReference: ({ id }) => ({ id, rating: id === 'b' ? 4.5 : 3 }) },
    Strict: { __resolveReference: ({ id }) => ({ id, must: null }) },
  },
};

/** The supergraph as text. */
export function compose(urls, more = []) {
  const services = Object.entries({ products, reviews }).map(([name, typeDefs]) => ({ name, typeDefs, url: urls[name] })).concat(more);
  const { supergraphSdl, errors } = composeServices(services);
  if (errors) throw new Error(errors.join('\n'));
  return supergraphSdl;
}

/** Starts a subgraph. `asked` is told of each request; what `answer(request, response)` says is answered is not given to the subgraph. */
export async function serve(name, asked, answer = () => false) {
  const schema = buildSubgraphSchema({ typeDefs: { products, reviews }[name], resolvers: resolvers[name] });
  const handle = createHandler({ schema, context: (request) => ({ headers: request.raw.headers }) });
  const stream = createStreamHandler({ schema });
  const server = http.createServer((request, response) => {
    asked.push(name);
    if (answer(request, response)) return;
    (request.headers.accept === 'text/event-stream' ? stream : handle)(request, response);
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  return {
    url: `http://127.0.0.1:${server.address().port}/graphql`,
    async stop() {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}

// `node subgraphs.js` writes the supergraph that the unit tests read.
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  process.stdout.write(compose({ products: 'http://127.0.0.1:4001/graphql', reviews: 'http://127.0.0.1:4002/graphql' }));
}
