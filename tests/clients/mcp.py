"""The Model Context Protocol's own client, unchanged, against hexport mcp.

Reads {command, args, env, calls} from standard input. Prints what the server says of itself and of its tools, and
each call's answer.
"""

import asyncio
import json
import sys

sys.path.pop(0)  # This folder: its `mcp.py` is not the package.

from mcp import ClientSession, StdioServerParameters, stdio_client  # noqa: E402

asked = json.load(sys.stdin)


async def main():
    server = StdioServerParameters(command=asked["command"], args=asked["args"], env=asked["env"])
    async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
        begun = await session.initialize()
        tools = (await session.list_tools()).tools
        answers = []
        for tool, arguments in asked["calls"]:
            try:
                result = await session.call_tool(tool, arguments)
            except Exception as e:
                answers.append({"refused": str(e)})
                continue
            said = result.model_dump(mode="json", by_alias=True)
            answers.append({"error": bool(said.get("isError")), "said": json.loads(said["content"][0]["text"])})
        begun = begun.model_dump(mode="json", by_alias=True)
        tools = [tool.model_dump(mode="json", by_alias=True) for tool in tools]
        print(json.dumps({"server": begun, "tools": tools, "answers": answers}))


asyncio.run(main())
