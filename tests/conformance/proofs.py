"""The test that covers each class of the listing, by its file under tests/ and its name."""

from typing import Final

_SHOWN: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "graphql_schema/calls/test_reading.py": {
        "test_finished_call_is_read_as_written": ("CallReadReq", "CallReadRes", "CallSchema"),
        "test_keys_written_under_weave_are_kept": ("SummaryMap", "SummaryInsertMap"),
        "test_pages_go_forward_and_backward_by_cursor": ("CallsQueryRes",),
        "test_stats_count_to_the_limit_and_sum_trace_sizes_of_roots": ("CallsQueryStatsReq", "CallsQueryStatsRes"),
        "test_filter_is_passed_to_the_store_completely": ("CallsFilter",),
    },
    "graphql_schema/calls/test_querying.py": {
        "test_filter_and_query_are_combined_with_and": ("CallsQueryReq",),
        "test_sort_by_a_path_is_paged_in_both_directions": ("SortBy",),
    },
    "graphql_schema/calls/test_writing.py": {
        "test_missing_ids_are_generated_and_returned": ("CallStartReq", "CallStartRes"),
        "test_start_at_the_limits_is_stored": ("StartedCallSchemaForInsert",),
        "test_end_may_arrive_before_its_start": ("CallEndReq", "CallEndRes", "EndedCallSchemaForInsert"),
        "test_batch_returns_one_result_per_item": ("CallCreateBatchReq", "CallCreateBatchRes"),
        "test_item_is_exactly_one_of_start_and_end": ("CallBatchStartMode", "CallBatchEndMode"),
        "test_display_name_is_set_cleared_and_counted": ("CallUpdateReq", "CallUpdateRes"),
        "test_delete_includes_descendants_and_is_visible_at_once": ("CallsDeleteReq", "CallsDeleteRes"),
    },
    "graphql_schema/feedback/test_writing.py": {
        "test_reaction_is_created_and_read_as_stored": ("FeedbackCreateReq", "FeedbackCreateRes"),
        "test_batch_results_are_in_order_or_the_invalid_item_is_named": (
            "FeedbackCreateBatchReq",
            "FeedbackCreateBatchRes",
        ),
        "test_replacement_names_the_old_feedback_and_no_id_of_another": ("FeedbackReplaceReq", "FeedbackReplaceRes"),
        "test_purge_accepts_ids_in_both_query_forms": ("FeedbackPurgeReq", "FeedbackPurgeRes"),
    },
    "graphql_schema/feedback/test_reading.py": {
        "test_feedback_list_is_queried_sorted_paged_and_counted": ("FeedbackQueryReq", "FeedbackQueryRes", "Feedback"),
        "test_calls_have_feedback_and_feedback_has_its_call": ("FeedbackDict",),
    },
    "graphql_schema/costs/test_calls.py": {
        "test_call_is_priced_by_the_price_in_effect_at_its_start": ("LLMCostSchema", "LLMUsageSchema"),
    },
    "graphql_schema/costs/test_prices.py": {
        "test_price_is_listed_as_set": (
            "CostCreateReq",
            "CostCreateRes",
            "CostCreateInput",
            "CostQueryOutput",
        ),
        "test_prices_are_queried_sorted_and_paged_within_their_project": ("CostQueryReq", "CostQueryRes"),
        "test_purge_deletes_only_the_named_prices_of_its_project": ("CostPurgeReq", "CostPurgeRes"),
    },
    "graphql_schema/objects/test_objects.py": {
        "test_version_is_read_as_created": (
            "ObjCreateReq",
            "ObjCreateRes",
            "ObjReadReq",
            "ObjReadRes",
            "ObjSchema",
            "ObjSchemaForInsert",
        ),
        "test_op_is_read_as_an_op_however_created": (
            "OpCreateReq",
            "OpCreateRes",
            "OpReadReq",
            "OpReadRes",
            "OpQueryReq",
            "OpQueryRes",
            "OpVersionFilter",
        ),
        "test_deleted_version_is_null": ("ObjDeleteReq", "ObjDeleteRes"),
        "test_objects_are_queried_sorted_and_paged": ("ObjQueryReq", "ObjQueryRes", "ObjectVersionFilter"),
    },
    "graphql_schema/tables/test_tables.py": {
        "test_table_is_created_and_read": (
            "TableCreateReq",
            "TableCreateRes",
            "TableSchemaForInsert",
            "TableCreateFromDigestsReq",
            "TableCreateFromDigestsRes",
        ),
        "test_rows_are_filtered_queried_and_sorted": ("TableQueryReq", "TableRowFilter", "TableRowSchema"),
        "test_pages_go_both_ways": ("TableQueryRes",),
        "test_update_creates_another_table": (
            "TableUpdateReq",
            "TableUpdateRes",
            "TableAppendSpec",
            "TableAppendSpecPayload",
            "TableInsertSpec",
            "TableInsertSpecPayload",
            "TablePopSpec",
            "TablePopSpecPayload",
        ),
        "test_tables_have_row_counts_and_sizes": (
            "TableQueryStatsReq",
            "TableQueryStatsRes",
            "TableQueryStatsBatchReq",
            "TableQueryStatsBatchRes",
            "TableStatsRow",
        ),
    },
    "graphql_schema/threads/test_threads.py": {
        "test_thread_has_all_its_fields_and_its_calls": (
            "ThreadsQueryReq",
            "ThreadSchema",
            "ThreadsQueryFilter",
        ),
    },
    "graphql_schema/test_files.py": {
        "test_file_is_stored_and_read": (
            "FileCreateReq",
            "FileCreateRes",
            "FileContentReadReq",
            "FileContentReadRes",
        ),
        "test_stats_count_each_content_once": ("FilesStatsReq", "FilesStatsRes"),
    },
    "graphql_schema/test_refs.py": {
        "test_refs_are_resolved_in_order": ("RefsReadBatchReq", "RefsReadBatchRes"),
    },
    "graphql_schema/test_projects.py": {
        "test_project_can_be_ensured_repeatedly": ("EnsureProjectExistsRes",),
        "test_project_has_everything_stored_in_it": ("ProjectStatsReq", "ProjectStatsRes"),
    },
    "graphql_schema/test_otel.py": {
        "test_spans_are_stored_in_the_project_of_the_mutation": ("OtelExportReq", "OtelExportRes"),
        "test_rejected_spans_are_reported": ("ExportTracePartialSuccess",),
    },
    "graphql_schema/test_actions.py": {
        "test_contained_words_are_stored_as_feedback": ("ActionsExecuteBatchReq", "ActionsExecuteBatchRes"),
    },
    "graphql_schema/test_images.py": {
        "test_image_has_its_file_and_its_call": (
            "ImageGenerationCreateReq",
            "ImageGenerationCreateRes",
            "ImageGenerationRequestInputs",
        ),
    },
    "graphql_schema/completions/test_completions.py": {
        "test_completion_has_its_call_with_usage_and_costs": ("CompletionsCreateReq", "CompletionsCreateRes"),
        "test_every_input_of_the_api_reaches_the_provider": ("CompletionsCreateRequestInputs",),
    },
    "graphql_schema/evaluations/test_running.py": {
        "test_run_is_ordered_watched_and_read": ("EvaluateModelReq", "EvaluateModelRes"),
    },
    "graphql_schema/evaluations/test_reading.py": {
        "test_each_status_has_its_own_type": (
            "EvaluationStatusReq",
            "EvaluationStatusRes",
            "EvaluationStatusNotFound",
            "EvaluationStatusRunning",
            "EvaluationStatusFailed",
            "EvaluationStatusComplete",
        ),
    },
}

PROOFS: Final[dict[str, str]] = {
    name: f"tests/{file}::{test}" for file, tests in _SHOWN.items() for test, names in tests.items() for name in names
}
"""Test of each class, by class name; Python's marker classes have none."""
