// The rules of @graphql-eslint's schema-recommended and Relay sets, for the SDL of the folder that ESLint runs in.
// The exceptions below follow the names of the reference API's listing, or Relay's own specification.
import graphql from "@graphql-eslint/eslint-plugin";

const { rules: recommended } = graphql.configs["flat/schema-recommended"];
const { rules: relay } = graphql.configs["flat/schema-relay"];

// These types are values without an identity, so no cache should store them by id.
const values = {
  actions: ["ActionError", "ActionResult"],
  aggregates: ["CallsAggregateRow", "UsageTotals", "UsageTreeNode", "TraceTotals", "TraceTreeNode"],
  comparisons: [
    ...["ComparedExample", "ComparedMetric", "ComparedNumber", "ComparedResult", "ComparedRunMetric"],
    "EvaluationComparison",
  ],
  costs: ["CostCreateResId", "LLMCostComponent", "LLMCostSchema", "LLMUsageSchema", "ModelUsage"],
  // A run and a prediction are calls, and the calls have the refs.
  evaluations: ["EvaluationMetric", "EvaluationPrediction", "EvaluationResult", "EvaluationRun", "EvaluationScore"],
  statuses: [
    ...["EvaluationStatusComplete", "EvaluationStatusFailed", "EvaluationStatusNotFound", "EvaluationStatusRunning"],
    "ExportTracePartialSuccess",
  ],
  facets: ["CallsFacet", "CallsFacetBin", "CallsFacetValue", "CallsNumber", "CallsPath", "CallsPathShare"],
  // A message has no identity of its own; the call that contains it has the ref.
  messages: [
    ...["AudioPart", "ChatMessage", "ConversationMessage", "FilePart", "ImagePart", "ReasoningPart", "RefusalPart"],
    ...["TextPart", "ToolCallPart", "ToolResultPart"],
  ],
  search: ["CallSearchHighlight", "CallSearchHit", "CallSearchRange"],
  rest: ["FeedbackTypeStats", "GeneratedImage", "ObjFile", "PageInfo", "ResolvedRef", "TableStatsRow"],
};

// Returns a rule that ignores the given names, and reports each name that needs no exception.
function excepting(rule, names) {
  const create = (context) => {
    const left = new Set(names);
    const report = (found) => {
      const name = found.data?.typeName ? `${found.data.typeName}.${found.data.fieldName}` : found.node.value;
      if (names.includes(name)) left.delete(name);
      else context.report(found);
    };
    const visitors = rule.create(Object.create(context, { report: { value: report } }));
    const atEnd = (node) => left.forEach((name) => context.report({ node, message: `${name} needs no exception.` }));
    return { ...visitors, "Document:exit": atEnd };
  };
  return { ...rule, create };
}

const rules = {
  ...graphql.rules,
  // The schema keeps the names of the listing: Feedback.feedback_type, and the trace_id of calls, filters, statistics
  // and traces.
  "no-typename-prefix": excepting(graphql.rules["no-typename-prefix"], ["Feedback.feedbackType", "Trace.traceId"]),
  // Relay's specification allows an edge to lead to any type; only this rule requires a `Node`. The targets of these
  // edges have no ref of their own, so they cannot be a `Node`: rows of evaluations, which are groups; runs, whose call
  // has the ref; the place of a call in its trace's tree; and the hits of a search, whose call has the ref.
  "relay-edge-types": excepting(graphql.rules["relay-edge-types"], [
    ...["CallSearchHitEdge", "ComparedExampleEdge", "EvaluationResultEdge", "EvaluationRunEdge", "TraceTreeNodeEdge"],
  ]),
};

export default [
  {
    files: ["**/*.graphql"],
    languageOptions: {
      parser: graphql.parser,
      parserOptions: { graphQLConfig: { schema: "graphql_schema/schema.graphql" } },
    },
    plugins: { "@graphql-eslint": { ...graphql, rules } },
    rules: {
      ...recommended,
      ...relay,
      "@graphql-eslint/strict-id-in-types": [
        "error",
        {
          // The global id is the ref (`interface Node`); `id` is unique within a project, as in the listing.
          acceptedIdNames: ["ref"],
          exceptions: { suffixes: ["Res", "Event", "Connection", "Edge"], types: Object.values(values).flat() },
        },
      ],
      // Relay allows plain lists in addition to connections. This rule would require edges even for lists without
      // pages: the items of a batch, a call's usage by model, and `nodes` next to `edges`.
      "@graphql-eslint/relay-edge-types": ["error", { listTypeCanWrapOnlyEdgeType: false }],
    },
  },
];
