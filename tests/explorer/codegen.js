// Types and texts of the documents of the Explorer; paths begin at the folder `tests`.

const config = {
  schema: "../graphql_schema/schema.graphql",
  documents: "../app/explorer/documents/*.graphql",
  generates: {
    "../app/explorer/generated/": {
      preset: "client",
      presetConfig: { fragmentMasking: false, persistedDocuments: { hashAlgorithm: "sha256" } },
      config: {
        documentMode: "string",
        enumsAsTypes: true,
        useTypeImports: true,
        strictScalars: true,
        onlyOperationTypes: true,
        skipTypename: true,
        scalars: {
          ID: "string",
          DateTime: "string",
          BigInt: "number",
          JSON: "unknown",
          Literal: "string | number | boolean",
          Base64: "string",
          Upload: "Blob",
        },
      },
    },
  },
};

export default config;
