"""Bytes become rows: kinds of file, encodings, containers and the line of every row. `streams.py` is the door.

    streams          one stream of rows and problems for every kind of file
    kinds            which kind it is, by its content         archives       folders, and zip archives of files
    texts            bytes become text, chunk by chunk        zips           what is refused before it is unpacked
    json_rows        JSON lines; json_documents: the rest     json_values    what is wrong with a value, in words
    table_rows       CSV and its relatives                    document_rows  plain text and Markdown
    sheet_rows       XLSX, by the parser of sheet_parser      parquet_rows   Parquet
    rows             a row, and what it must be whatever it means            sources   bytes, counted as they are read

Every reader is a generator: it holds what it needs for the next row, and closing it closes its files. A bad row is
yielded as a problem between the others; what makes the whole file unreadable is raised.
"""
