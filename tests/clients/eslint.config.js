// The rules of @graphql-eslint's schema-recommended and of its Relay set, for the SDL of the folder that ESLint runs in.
// What fights the names of the reference's listing, or Relay's own reading of Relay, is set below, each with its reason.
// Single findings that stay are counted in eslint-suppressions.json; one more is reported, and so is one that is gone:
// - no-typename-prefix: Feedback.feedbackType and Trace.traceId have the names of the listing.
// - relay-edge-types: nodes that cannot be asked for by a ref: examples and results of evaluations, and runs in their
//   lists (the call of a run has the ref), a call's place in the tree of its trace, and what a search found of a call.
import graphql from "@graphql-eslint/eslint-plugin";

const { rules: recommended } = graphql.configs["flat/schema-recommended"];
const { rules: relay } = graphql.configs["flat/schema-relay"];

// Values: they have no identity of their own, so that no cache should keep them by one.
const values = {
  actions: ["ActionError", "ActionResult"],
  aggregates: ["CallsAggregateRow", "UsageTotals", "UsageTreeNode", "TraceTotals", "TraceTreeNode"],
  comparisons: [
    ...["ComparedExample", "ComparedMetric", "ComparedNumber", "ComparedResult", "ComparedRunMetric"],
    "EvaluationComparison",
  ],
  costs: ["CostCreateResId", "LLMCostSchema", "LLMUsageSchema", "ModelUsage"],
  // A run and a prediction are calls, which have the refs.
  evaluations: ["EvaluationMetric", "EvaluationPrediction", "EvaluationResult", "EvaluationRun", "EvaluationScore"],
  statuses: [
    ...["EvaluationStatusComplete", "EvaluationStatusFailed", "EvaluationStatusNotFound", "EvaluationStatusRunning"],
    "ExportTracePartialSuccess",
  ],
  search: ["CallSearchHighlight", "CallSearchHit", "CallSearchRange"],
  rest: ["FeedbackTypeStats", "GeneratedImage", "ObjFile", "PageInfo", "ResolvedRef", "TableStatsRow"],
};

export default [
  {
    files: ["**/*.graphql"],
    languageOptions: {
      parser: graphql.parser,
      parserOptions: { graphQLConfig: { schema: "graphql_schema/schema.graphql" } },
    },
    plugins: { "@graphql-eslint": graphql },
    rules: {
      ...recommended,
      ...relay,
      "@graphql-eslint/strict-id-in-types": [
        "error",
        {
          // The global id is the ref (`interface Node`); `id` is one within a project, as the listing has it.
          acceptedIdNames: ["ref"],
          exceptions: { suffixes: ["Res", "Event", "Connection", "Edge"], types: Object.values(values).flat() },
        },
      ],
      // Relay itself has plain lists beside connections, and this rule would have edges also where there are no pages:
      // the items of a batch, the usage by model of a call, and `nodes` beside `edges`.
      "@graphql-eslint/relay-edge-types": ["error", { listTypeCanWrapOnlyEdgeType: false }],
    },
  },
];
